"""The documentation is true: its code runs, its commands and recipes are understood.

And nothing is left out of the pages that are made from the code.
"""

import importlib.util
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

import tag2mask
from tag2mask import cli
from tag2mask.config import Recipe, Schema
from tag2mask.config.study_schema import Study

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN_ELSEWHERE = {"README.md", "docs/how-to/deploy-without-torch.md"}
"""By test_readme.py, and by export/test_how_to.py, which has an exported model."""


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """Yield the code of a page, that of a list's indented too."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```", page.read_text(), re.M | re.S
    )
    for indent, code in found:
        yield re.sub(f"^{indent}", "", code, flags=re.M)


def command_lines(page):
    """Yield the words of each call of ours, lines that are continued being joined."""
    for block in blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z0-9_]+=.*", words[0]):
                words.pop(0)  # a variable of the environment
            if words[:1] == ["tag2mask"]:
                yield words[1:]


def leaf(words):
    """Return the command that words call, its name, and the rest of the words."""
    command, name, rest = get_command(cli.app), "tag2mask", list(words)
    while hasattr(command, "commands"):
        word = rest.pop(0)
        assert word in command.commands, f"there is no {name} {word}"
        command, name = command.commands[word], f"{name} {word}"
    return command, name, rest


def walk(schema, place=""):
    """Yield the dotted path of each key, NAME being what users name, and its owner."""
    for key, field in schema.model_fields.items():
        yield f"{place}{key}", key, schema
        is_named = str(field.annotation).startswith("dict[")
        below = f"{place}{key}.NAME." if is_named else f"{place}{key}."
        for each in schemas(field.annotation):
            yield from walk(each, below)


def schemas(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        yield annotation
    for part in get_args(annotation):
        yield from schemas(part)


KNOBS = {path for path, _, _ in walk(Recipe)} | {"voters.NAME"}
FREE = {
    path
    for path, key, owner in walk(Recipe)
    if "dict[" in str(kind := owner.model_fields[key].annotation)
    and not list(schemas(kind))
}
"""Tables whose keys are those of another library, or names of voters."""


def is_knob(path):
    patterns = [re.escape(each) for each in KNOBS]
    patterns += [rf"{re.escape(each)}\..+" for each in FREE]
    return any(re.fullmatch(each.replace("NAME", r"[^.]+"), path) for each in patterns)


def keys(table, place=""):
    for key, value in table.items():
        yield f"{place}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{place}{key}.")


@pytest.fixture(scope="module")
def site():
    """What makes pages from the code."""
    spec = importlib.util.spec_from_file_location(
        "site_pages", ROOT / "tools" / "site_pages.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_understood(page):
    for words in command_lines(page):
        command, name, rest = leaf(words)
        command.make_context(name, rest)  # parses, and calls nothing


def test_a_wrong_option_would_be_found():
    command, name, rest = leaf(["plan", "toy", "--wrok", "x"])
    with pytest.raises(Exception, match="wrok"):
        command.make_context(name, rest)


def test_pages_have_commands():
    assert sum(1 for page in PAGES for _ in command_lines(page)) > 60


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_exist(page):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for call in re.findall(r"`tag2mask ([a-z][^`]*)`", prose):
        command, _, rest = leaf([w for w in call.split() if w != "..."] or ["-"])
        known = {each for p in command.params for each in p.opts + p.secondary_opts}
        assert {word for word in rest if word.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_changed_keys_are_knobs(page):
    said = re.findall(r"--set ([a-z][\w.\-]*)=", page.read_text())
    assert [key for key in said if not is_knob(key)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_toml_is_of_recipes_and_studies(page):
    for code in blocks(page, "toml"):
        table = tomllib.loads(code)
        if "recipe" in table:
            Study.model_validate_json(json.dumps(table))
        elif set(table) <= set(Recipe.model_fields):
            assert [key for key in keys(table) if not is_knob(key)] == []


def test_a_wrong_key_would_be_found():
    assert is_knob("voters.mine.gate.theta")
    assert is_knob("segment.options.num_queries")
    assert not is_knob("voters.mine.gate.thetta")
    assert not is_knob("segment.min_suport")


SLOW = {"docs/reference/python.md"}
"""Its run is that of the README, which is quicker."""
WITH_CODE = [
    pytest.param(page, marks=pytest.mark.slow) if name_of(page) in SLOW else page
    for page in PAGES
    if list(blocks(page, "python")) and name_of(page) not in RUN_ELSEWHERE
]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), namespace)


CHEAP = {"plan", "run", "report", "predict", "evaluate", "export", "data"}
"""Of a tutorial whose recipe is small or has been run; `serve` waits for people."""


@pytest.fixture
def follow(call_cli, tmp_path, monkeypatch):
    """Run the cheap commands of a tutorial in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(page):
        for words in command_lines(DOCS / "tutorial" / page):
            if words[0] in CHEAP:
                found = [
                    each
                    for word in words
                    for each in (sorted(tmp_path.glob(word)) if "*" in word else [word])
                ]
                code, _, error = call_cli(*found)
                assert code == 0, (words, error)

    return run


def test_own_folder(follow, finished, world, recipe_file, tmp_path):
    shutil.copytree(world, tmp_path / "my-data")
    text = recipe_file.read_text().replace(str(world), "my-data")
    (tmp_path / "my-recipe.toml").write_text(text)
    shutil.copytree(finished.work, tmp_path / "work")
    follow("own-folder.md")
    names = {path.stem for path in (world / "images").iterdir()}
    assert {path.stem for path in (tmp_path / "masks").glob("*.png")} == names
    assert (tmp_path / "voc" / "labelmap.txt").exists()
    assert (tmp_path / "check.html").exists()


@pytest.mark.slow
def test_toy_world(follow, tmp_path, monkeypatch, call_cli):
    monkeypatch.setattr(cli, "_TOY_TRAIN", 40)
    monkeypatch.setattr(cli, "_TOY_VAL", 8)
    monkeypatch.chdir(tmp_path)
    assert call_cli("demo")[0] == 0
    follow("toy-world.md")
    assert json.loads((tmp_path / "score.json").read_text())["num_images"] == 48


@pytest.mark.slow
def test_site_is_built_without_a_warning(tmp_path, monkeypatch):
    command = pytest.importorskip("mkdocs.commands.build")
    config = pytest.importorskip("mkdocs.config")
    monkeypatch.chdir(ROOT)
    loaded = config.load_config(
        str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")
    )
    command.build(loaded)
    assert "cross_entropy_share" in (
        tmp_path / "site" / "reference" / "recipe" / "index.html"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("top", [Recipe, Study])
def test_every_knob_is_in_the_reference(site, top):
    page = site.recipe_page() if top is Recipe else site.study_page()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    for _, key, owner in walk(top):
        (row,) = re.findall(rf"^\| `{key}` \|.*$", sections[owner.__name__], re.M)
        assert all(cell.strip() for cell in row.strip("|").split(" | ")), row


def row(page, section, key):
    """Return the type, the default and the meaning of a key."""
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    (found,) = re.findall(rf"^\| `{key}` \| (.*) \|$", text, flags=re.M)
    return found.split(" | ")


def test_reference_tells_type_bounds_default_and_source(site):
    page = "\n" + site.recipe_page()
    kind, default, meaning = row(page, "DeepLab", "tau")
    assert (kind, default) == ("number > 0", "`0.1`")
    assert "[ours]" in meaning
    assert row(page, "DeepLab", "min_support")[:2] == ["integer ≥ 1, ≤ 255", "`2`"]
    assert row(page, "Classifier", "steps")[1:] == [
        "`20000`",
        "Optimiser steps [paper].",
    ]
    assert row(page, "Classifier", "output_stride")[0] == "`8`, `16`, `32`"
    assert row(page, "Clims", "gate")[1].endswith('`{ mode = "fixed", theta = 0.26 }`')
    assert row(page, "Recipe", "data")[1] == "required"
    assert "`[voters.NAME.cam]`" in page


def test_every_command_and_option_is_in_the_reference(site):
    page = site.command_page()
    found = dict(site.commands(get_command(cli.app)))
    assert {"tag2mask demo", "tag2mask data check"} <= set(found)
    for name, command in found.items():
        section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert command.help.splitlines()[0] in section
        for parameter in command.params:
            for each in parameter.opts if parameter.name != "help" else ():
                assert each.upper() in section.upper(), (name, each)


def test_every_module_of_equations_is_in_the_reference(site):
    page = site.equation_page()
    modules = (ROOT / "src" / "tag2mask" / "functional").glob("[a-z]*.py")
    for module in modules:
        assert f"::: tag2mask.functional.{module.stem}\n" in page


def test_public_surface_is_in_the_reference():
    page = (DOCS / "reference" / "python.md").read_text()
    errors = {"Tag2MaskError"}  # in `tag2mask.errors`, as a whole
    told = set(re.findall(r"^::: tag2mask\.(\w+)$", page, flags=re.M))
    assert set(tag2mask.__all__) - errors - {"Recipe"} <= told
    assert "::: tag2mask.errors\n" in page
    assert "`Recipe`" in page


def test_every_folder_is_in_the_navigation():
    told = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        path = page.relative_to(DOCS).as_posix()
        folder = f"{path.rpartition('/')[0]}/\n"
        assert f"- {path}\n" in told or f": {folder}" in told, path
