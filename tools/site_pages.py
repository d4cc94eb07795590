"""What of the documentation is made from the code while the site is built.

Hooks of MkDocs: folders of the navigation become their pages, and pages of the
reference get every command, knob and equation that there is, so that none can be
forgotten. Nothing here runs with the package.
"""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints


def on_config(config: Any) -> Any:  # noqa: ANN401
    """Put the pages of a folder where the navigation names the folder."""
    root = Path(config["docs_dir"])
    config["nav"] = [
        {title: _pages_below(root, pages) for title, pages in section.items()}
        if isinstance(section, dict)
        else section
        for section in config["nav"]
    ]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:  # noqa: ANN401
    """Add to a page what is made from the code."""
    make = PAGES.get(page.file.src_uri)
    return f"{markdown}\n\n{make()}" if make else markdown


def command_page() -> str:
    """Return the reference of the command line: every option of every command."""
    from typer.main import get_command

    from tag2mask.cli import app

    sections = [_command(name, each) for name, each in commands(get_command(app))]
    return "\n".join(sections)


def commands(group: Any, name: str = "tag2mask") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield each command by the words that call it, groups left out."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def recipe_page() -> str:
    """Return the reference of recipes: each table, each key of it."""
    from tag2mask.config import Recipe

    return _tables(Recipe)


def study_page() -> str:
    """Return the reference of studies."""
    from tag2mask.config.study_schema import Study

    return _tables(Study)


def equation_page() -> str:
    """Return the reference of the modules of equations, all that there are."""
    package = importlib.import_module("tag2mask.functional")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return "\n".join(f"::: tag2mask.functional.{name}\n" for name in names)


_WORDS = {"null": "left out", "string": "text", "boolean": "`true`, `false`"}
_KINDS = {Path: "path", str: "text", int: "integer", float: "number"}
PAGES = {
    "reference/command-line.md": command_page,
    "reference/recipe.md": recipe_page,
    "reference/study.md": study_page,
    "reference/functional.md": equation_page,
}


def _pages_below(root: Path, pages: Any) -> Any:  # noqa: ANN401
    if not isinstance(pages, str) or not pages.endswith("/"):
        return pages
    found = sorted((root / pages).glob("*.md"))
    return [path.relative_to(root).as_posix() for path in found]


def _command(name: str, command: Any) -> str:  # noqa: ANN401
    kinds = get_type_hints(command.callback)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([name, *map(_spelling, arguments), "[OPTIONS]"])
    rows = [
        (
            f"`{_spelling(each)}`",
            _values(each, kinds[each.name]),
            _default_of(each),
            each.help or "",
        )
        for each in command.params
        if each.name in kinds
    ]
    table = _table(("argument or option", "value", "default", "meaning"), rows)
    text = inspect.cleandoc(command.help)
    return f"## {name}\n\n{text}\n\n```text\n{usage}\n```\n\n{table}"


def _spelling(parameter: Any) -> str:  # noqa: ANN401
    if parameter.param_type_name == "option":
        return " / ".join(parameter.opts + parameter.secondary_opts)
    many = "..." if parameter.nargs == -1 else ""
    return (parameter.metavar or parameter.name.upper()) + many


def _values(parameter: Any, kind: Any) -> str:  # noqa: ANN401
    """Say what may be given, by the type that the command's function declares."""
    kinds = [each for each in get_args(kind) if each is not type(None)]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{each}`" for each in kinds)
    if type(None) in get_args(kind):
        return _values(parameter, kinds[0])
    if get_origin(kind) is list:
        return f"{_values(parameter, kinds[0])}; may repeat"
    if kind is bool:
        return ""
    if parameter.param_type_name == "option" and parameter.metavar:
        return f"`{parameter.metavar}`"
    bounds = {"≥": parameter.min, "≤": parameter.max}
    told = [f"{sign} {value:g}" for sign, value in bounds.items() if value is not None]
    return " ".join([_KINDS[kind], ", ".join(told)]).strip()


def _default_of(parameter: Any) -> str:  # noqa: ANN401
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False:
        return ""
    return f"`{parameter.default}`"


def _tables(top: Any) -> str:  # noqa: ANN401
    """Return a section for each table that a schema holds, the schema's own first."""
    schema = top.model_json_schema()
    definitions = {top.__name__: schema, **schema.get("$defs", {})}
    places: dict[type, list[str]] = {}
    for place, each in tables(top):
        places.setdefault(each, []).append(place)
    return "\n".join(
        _section(each, definitions[each.__name__], named)
        for each, named in places.items()
    )


def tables(schema: Any, place: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the dotted place of each table of a schema, and the class of what it holds.

    NAME stands for a name that a user gives.
    """
    yield place, schema
    for name, field in schema.model_fields.items():
        named = ".NAME" if get_origin(field.annotation) is dict else ""
        for each in dict.fromkeys(_schemas((field.annotation,))):
            yield from tables(each, f"{place}.{name}{named}".lstrip("."))


def _schemas(annotations: tuple[Any, ...]) -> Iterator[Any]:
    for annotation in annotations:
        if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
            yield annotation
        yield from _schemas(get_args(annotation))


def _section(schema: Any, definition: Mapping[str, Any], places: Sequence[str]) -> str:  # noqa: ANN401
    told = attribute_docs(schema)
    required = definition.get("required", [])
    rows = [
        (
            f"`{name}`",
            _type(entry),
            "required" if name in required else _default(schema, name),
            told.get(name, "Says that the table is of this kind."),
        )
        for name, entry in definition["properties"].items()
    ]
    where = ", ".join(f"`[{each}]`" for each in dict.fromkeys(places) if each)
    parts = [f"## {schema.__name__}", where, inspect.cleandoc(schema.__doc__ or "")]
    parts.append(_table(("key", "type and bounds", "default", "meaning"), rows))
    return "\n\n".join(part.replace("``", "`") for part in parts if part)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *(map(_cell, row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def attribute_docs(schema: type) -> dict[str, str]:
    """Return the text below each field of a class, that of its ancestors last."""
    found: dict[str, str] = {}
    for each in reversed(schema.__mro__):
        if not hasattr(each, "model_fields") or each.__module__ == "pydantic.main":
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        for field, text in zip(body.body, body.body[1:], strict=False):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(name)),
                    ast.Expr(ast.Constant(str(words))),
                ):
                    found[name] = " ".join(words.split())
    return found


def _type(entry: Mapping[str, Any]) -> str:
    """Say what a value may be, as people write it in TOML."""
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        return "any value" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if options := entry.get("anyOf", entry.get("oneOf")):
        return " or ".join(dict.fromkeys(map(_type, options)))
    if "const" in entry or "enum" in entry:
        values = entry.get("enum", [entry.get("const")])
        return ", ".join(f"`{_toml(value)}`" for value in values)
    match entry.get("type"):
        case "array":
            return _array(entry)
        case "object":
            return f"table of {_type(_entries(entry))}"
        case kind:
            return f"{_WORDS.get(entry.get('format', kind), kind)}{_bounds(entry)}"


def _entries(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what each value of a table with free keys is."""
    named = entry.get("patternProperties", {})
    found: Mapping[str, Any] = next(
        iter(named.values()), entry.get("additionalProperties", {})
    )
    return found


def _array(entry: Mapping[str, Any]) -> str:
    if items := entry.get("prefixItems"):
        return f"list of {len(items)}: {', '.join(map(_type, items))}"
    least = ", at least one" if entry.get("minItems") == 1 else ""
    return f"list of {_type(entry['items'])}{least}"


def _bounds(entry: Mapping[str, Any]) -> str:
    signs = {
        "exclusiveMinimum": ">",
        "minimum": "≥",
        "exclusiveMaximum": "<",
        "maximum": "≤",
    }
    told = [f"{sign} {entry[key]}" for key, sign in signs.items() if key in entry]
    return f" {', '.join(told)}" if told else ""


def _default(schema: Any, name: str) -> str:  # noqa: ANN401
    value = schema.model_fields[name].get_default(call_default_factory=True)
    if value is None:
        return "left out"
    if not hasattr(value, "model_dump"):
        return f"`{_toml(value)}`"
    changed = value.model_dump(exclude_unset=True, mode="json")
    name = type(value).__name__
    own = f" with `{_toml(changed)}`" if changed else ""
    return f"[{name}](#{name.lower()}){own}"


def _toml(value: Any) -> str:  # noqa: ANN401
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case Mapping():
            pairs = ", ".join(f"{key} = {_toml(each)}" for key, each in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return f"{value}"


def _cell(text: str) -> str:
    """Keep a text within its cell; its double backticks are code."""
    return text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;")
