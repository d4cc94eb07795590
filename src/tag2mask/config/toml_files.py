"""Recipes and studies on disk: a file of the user's, or one that is shipped."""

import json
import tomllib
from pathlib import Path
from typing import Any

from tag2mask.errors import RecipeError

_PACKAGE = Path(__file__).parents[1]


def as_json(table: dict[str, Any], *, source: str) -> str:
    """Return a table as JSON; dates become text.

    Raises:
        RecipeError: If it holds a number that is too long, naming the source.
    """
    try:
        return json.dumps(table, default=str)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{source}: {error}") from None


def find_shipped(path: Path, *, kind: str, folder: str) -> Path:
    """Return a file: a path, or the name of one that is shipped.

    Args:
        path: What the user gave.
        kind: What it should be, for messages.
        folder: Where those are that are shipped.

    Raises:
        RecipeError: If there is neither, naming the shipped ones.
    """
    if path.is_file():
        return path
    folders = (_PACKAGE / folder, _PACKAGE.parents[1] / folder)
    shipped = {p.stem: p for each in folders for p in each.glob("*.toml")}
    if len(path.parts) == 1 and path.stem in shipped:
        return shipped[path.stem]
    raise RecipeError(
        f"there is no {kind} {path}; give a TOML file or one of the shipped {folder}: "
        f"{', '.join(sorted(shipped))}"
    )


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a byte order mark does not matter.

    Raises:
        RecipeError: If it cannot be read or is none.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also of numbers without end
        raise RecipeError(f"{path} is not TOML: {error}") from None
