"""Read a recipe, apply what the command line says, and explain what is wrong."""

import difflib
import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tag2mask.config.schema import Recipe, Schema
from tag2mask.errors import RecipeError

_PACKAGE = Path(__file__).parents[1]
_SHIPPED = (_PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes")


def find_recipe(recipe: Path) -> Path:
    """Return the file of a recipe: a path, or the name of one that we ship.

    Raises:
        RecipeError: If there is neither, naming the shipped ones.
    """
    if recipe.is_file():
        return recipe
    shipped = {p.stem: p for folder in _SHIPPED for p in folder.glob("*.toml")}
    if len(recipe.parts) == 1 and recipe.stem in shipped:
        return shipped[recipe.stem]
    raise RecipeError(
        f"there is no recipe {recipe}; give a TOML file or one of the shipped "
        f"recipes: {', '.join(sorted(shipped))}"
    )


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``table.key=value`` overrides in their order.

    Args:
        path: A TOML file, or the name of a shipped recipe.
        overrides: The value is TOML; what is not TOML is taken as text.

    Raises:
        RecipeError: With one line for each key that is unknown, missing or wrong.
    """
    path = find_recipe(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from None
    for override in overrides:
        _merge(table, _parse(override))
    try:
        # strict JSON accepts just what TOML can say: lists for tuples, text for paths
        return Recipe.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        problems = [
            _explain(item["loc"], item["type"], item["msg"], table)
            for item in error.errors()
        ]
        raise RecipeError("\n".join([f"{path} is not a recipe:", *problems])) from None


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe with every default filled in, as JSON values."""
    return recipe.model_dump(mode="json")


def _parse(override: str) -> dict[str, Any]:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set expects KEY=VALUE, got {override!r}")
    for text in (value, json.dumps(value.strip())):
        try:
            return tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError:
            continue
    raise RecipeError(f"--set: {key.strip()!r} is not a key such as segment.steps")


def _merge(table: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _explain(
    location: tuple[int | str, ...], kind: str, message: str, table: dict[str, Any]
) -> str:
    """Say what is wrong with a key, spelled as the user typed it."""
    if not location:
        return f"  {message}"
    key = ".".join(_typed(location, table))
    if kind != "extra_forbidden":
        return f"  {key}: {message}"
    near = difflib.get_close_matches(str(location[-1]), set(_all_keys()), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"  {key}: there is no such key{hint}"


def _typed(location: tuple[int | str, ...], table: Any) -> Iterator[str]:  # noqa: ANN401
    """Leave out the union tags that pydantic adds to a location."""
    *tables, last = location
    for part in tables:
        if isinstance(table, dict) and part in table:
            table = table[part]
            yield str(part)
    yield str(last)


def _all_keys(schema: type[Schema] = Schema) -> Iterator[str]:
    yield from schema.model_fields
    for child in schema.__subclasses__():
        yield from _all_keys(child)
