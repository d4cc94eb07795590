"""Read a study, and explain what is wrong with it."""

from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tag2mask.config.base import Schema
from tag2mask.config.study_schema import Row, Score, Study
from tag2mask.config.toml_files import as_json, find_shipped, read_toml
from tag2mask.data.classes import nearest
from tag2mask.errors import RecipeError

_TABLES: dict[str, type[Schema]] = {"rows": Row, "score": Score}


def find_study(study: Path) -> Path:
    """Return the file of a study: a path, or the name of one that we ship.

    Raises:
        RecipeError: If there is neither, naming the shipped ones.
    """
    return find_shipped(study, kind="study", folder="studies")


def load_study(path: Path | str) -> Study:
    """Read a study; its recipe is not read yet.

    Args:
        path: A TOML file, or the name of a shipped study.

    Raises:
        RecipeError: With one line for each key that is unknown, missing or wrong.
    """
    path = find_study(Path(path))
    table = read_toml(path)
    try:
        # strict JSON accepts just what TOML can say: lists for tuples
        return Study.model_validate_json(as_json(table, source=str(path)))
    except ValidationError as error:
        lines = [f"{path} is not a study:", *map(_explain, error.errors())]
        raise RecipeError("\n  ".join(lines)) from None


def _explain(item: ErrorDetails) -> str:
    """Return the key that an error is about, and what is wrong with it."""
    parts = [f"[{p}]" if isinstance(p, int) else f".{p}" for p in item["loc"]]
    key = "".join(parts).lstrip(".")
    text = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        *above, last = item["loc"]
        table = [part for part in above if isinstance(part, str)]
        known = _TABLES.get(table[-1], Study) if table else Study
        text = f"there is no such key{nearest(str(last), list(known.model_fields))}"
    return f"{key}: {text}" if key else text
