"""Read a recipe, apply what the command line says, and explain what is wrong."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tag2mask.config.base import Schema
from tag2mask.config.data_schema import Data, DataTable, layout_of
from tag2mask.config.schema import Recipe
from tag2mask.config.segmenters import KINDS, network_of, shared_keys
from tag2mask.config.toml_files import as_json, find_shipped, read_toml
from tag2mask.errors import RecipeError


def find_recipe(recipe: Path) -> Path:
    """Return the file of a recipe: a path, or the name of one that we ship.

    Raises:
        RecipeError: If there is neither, naming the shipped ones.
    """
    return find_shipped(recipe, kind="recipe", folder="recipes")


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``table.key=value`` overrides in their order.

    Args:
        path: A TOML file, or the name of a shipped recipe.
        overrides: The value is TOML; what is not TOML is taken as text. A table
            replaces the one that is there. ``segment.network`` of another kind brings
            its own defaults: of the file's table only the keys stay that say what is
            learnt from and by which loss.

    Raises:
        RecipeError: With one line for each key that is unknown, missing or wrong.
    """
    path = find_recipe(Path(path))
    table = read_toml(path)
    return _validate(Recipe, table, overrides, heading=f"{path} is not a recipe:")


def load_data(keys: Mapping[str, Any], overrides: Sequence[str] = ()) -> Data:
    """Read a table ``[data]`` without a recipe around it.

    Args:
        keys: Its keys, ``root`` among them.
        overrides: As of ``load_recipe``: ``data.key=value``.

    Raises:
        RecipeError: As ``load_recipe``.
    """
    table = {"data": dict(keys)}
    heading = f"the settings of {keys['root']} are not right:"
    return _validate(_DataOnly, table, overrides, heading=heading).data


class _DataOnly(Schema):
    data: DataTable


Loaded = TypeVar("Loaded", bound=Schema)


def _validate(
    schema: type[Loaded],
    table: dict[str, Any],
    overrides: Sequence[str],
    *,
    heading: str,
) -> Loaded:
    parsed = [_parse(override) for override in overrides]
    _leave_network(table, parsed)
    for keys, value in parsed:
        _set(table, keys, value)
    try:
        # strict JSON accepts just what TOML can say: lists for tuples, text for paths
        return schema.model_validate_json(as_json(table, source=heading.rstrip(":")))
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors():
            key, text = _explain(item, table)
            problems.setdefault(key, []).append(text)
        lines = [_line(key, texts) for key, texts in problems.items()]
        raise RecipeError("\n".join([heading, *lines])) from None


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe with every default filled in, as JSON values."""
    return recipe.model_dump(mode="json")


def _parse(override: str) -> tuple[list[str], Any]:
    """Split ``a.b=value`` into the keys and the value."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set expects KEY=VALUE, got {override!r}")
    rest: Any
    try:
        rest = tomllib.loads(f"{key} = 0")
        if not rest:  # a comment
            raise ValueError
    except (ValueError, RecursionError):
        raise RecipeError(
            f"--set: {key.strip()!r} is not a key such as segment.steps"
        ) from None
    keys = []
    while isinstance(rest, dict):
        part, rest = rest.popitem()
        keys.append(part)
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return keys, value.strip()
    return keys, parsed["value"] if len(parsed) == 1 else value.strip()


def _leave_network(
    table: dict[str, Any], overrides: Sequence[tuple[list[str], Any]]
) -> None:
    """Drop what a file says of one network if another kind is asked for."""
    segment = table.get("segment")
    asked = [value for keys, value in overrides if keys == ["segment", "network"]]
    kind = KINDS.get(str(asked[-1])) if asked else None
    if kind is None or not isinstance(segment, dict):
        return
    if kind is not KINDS.get(network_of(segment)):
        table["segment"] = {k: v for k, v in segment.items() if k in shared_keys()}


def _set(table: dict[str, Any], keys: Sequence[str], value: object) -> None:
    *parents, last = keys
    for key in parents:
        if not isinstance(table.get(key), dict):
            table[key] = {}
        table = table[key]
    table[last] = value


def _line(key: str, texts: Sequence[str]) -> str:
    said = "; or ".join(dict.fromkeys(texts))
    return f"  {key}: {said}" if key else f"  {said}"


def _explain(item: ErrorDetails, table: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key that an error is about, and what is wrong with it."""
    key = _typed(item["loc"], item["type"], table)
    if item["type"] == "union_tag_invalid":
        # the functions that tell kinds apart are named after the key: see kind_told_by
        kind = item["ctx"]["discriminator"].partition("_of")[0]
        value, known = item["ctx"]["tag"], item["ctx"]["expected_tags"]
        names = [name.strip("'") for name in known.split(", ")]
        near = difflib.get_close_matches(value, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{key}.{kind}", f"there is no {kind} {value!r}; {hint}choose {known}"
    if item["type"] == "extra_forbidden":
        return key, _explain_unknown(key, layout_of(table.get("data")))
    return key, item["msg"].removeprefix("Value error, ")


def _explain_unknown(key: str, layout: str) -> str:
    """Say what a key might mean that does not exist."""
    table, _, last = key.rpartition(".")
    known = list(_paths(Recipe, layout))
    beside = list(
        dict.fromkeys(
            path.rpartition(".")[2]
            for path in known
            if _without_name(path.rpartition(".")[0]) == _without_name(table)
        )
    )
    if table == "data" and key in _paths(Recipe, None):
        return f"layout {layout!r} has no such key; its keys are {', '.join(beside)}"
    if last in beside:
        return "there is no such key with this method, adapter or network"
    if near := difflib.get_close_matches(last, beside, n=1):
        return f"there is no such key; did you mean {near[0]!r}?"
    elsewhere = [p for p in dict.fromkeys(known) if p.rpartition(".")[2] == last]
    hint = f"; did you mean {' or '.join(elsewhere[:3])}?" if elsewhere else ""
    return f"there is no such key{hint}"


def _typed(location: tuple[int | str, ...], kind: str, table: Any) -> str:  # noqa: ANN401
    """Spell a location as the user typed it, without the tags that pydantic adds."""
    found = ""
    for part in location:
        if isinstance(table, list) and isinstance(part, int) and part < len(table):
            table = table[part]
            found += f"[{part}]"
        elif isinstance(table, dict) and part in table:
            table = table[str(part)]
            found += f".{part}"
    if kind == "missing":
        found += f".{location[-1]}"
    return found.lstrip(".")


def _without_name(table: str) -> str:
    """Leave out the name that a user gave to a voter."""
    first, *rest = table.split(".")
    return ".".join([first, *rest[1:]]) if first == "voters" else table


def _paths(schema: type[Schema], layout: str | None) -> Iterator[str]:
    """Yield the dotted path of every key of a table and of the tables below.

    Of the tables of data only the one of ``layout`` counts; all if it is None.
    """
    for name, field in schema.model_fields.items():
        yield name
        prefix = f"{name}.NAME" if get_origin(field.annotation) is dict else name
        for table in _tables(field.annotation):
            own = table.model_fields.get("layout")
            if own is None or layout in (None, own.default):
                yield from (f"{prefix}.{path}" for path in _paths(table, layout))


def _tables(annotation: object) -> Iterator[type[Schema]]:
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        yield annotation
    for part in get_args(annotation):
        yield from _tables(part)
