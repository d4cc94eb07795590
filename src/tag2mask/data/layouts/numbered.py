"""Tags that are numbers: places in a class list, as several exports write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tag2mask.data.classes import read_class_names
from tag2mask.data.layouts.listing import RowError


def names_by_number(
    root: Path, classes: str | Sequence[str] | None
) -> tuple[str, ...] | None:
    """Return the names that numbers from 0 stand for; None if there is no list."""
    if isinstance(classes, str):
        return read_class_names(root / classes)
    return None if classes is None else tuple(classes)


def named(value: Any, numbered: Sequence[str] | None, place: str) -> list[str]:  # noqa: ANN401
    """Return the names of a tag, or of a list of them.

    Args:
        value: Names, numbers, objects with a ``label``, a list of them, or None.
        numbered: What numbers stand for.
        place: Where the value is, for messages.

    Raises:
        RowError: If a tag is none of these.
    """
    found: list[str] = []
    for each in value if isinstance(value, list) else [value]:
        tag = each.get("label") if isinstance(each, dict) else each
        match tag:
            case None:
                continue
            case str():
                found.append(tag.strip())
            case int() if not isinstance(tag, bool) and numbered is not None:
                if not 0 <= tag < len(numbered):
                    raise RowError(
                        f", {place}: {tag} is no place in a list of {len(numbered)} "
                        f"classes, from 0"
                    )
                found.append(numbered[tag])
            case int() if not isinstance(tag, bool):
                raise RowError(
                    f", {place}: {tag} stands for a class, but nothing says for which; "
                    f"set data.classes"
                )
            case _:
                raise RowError(f", {place}: expected names or numbers, got {tag!r}")
    return found
