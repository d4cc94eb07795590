"""Layout ``json``: an image folder and a JSON file of tags."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tag2mask.data.layouts.listing import (
    Collection,
    Listing,
    Photographs,
    RowError,
    name_classes,
)
from tag2mask.errors import DatasetError


def list_json(
    root: Path, *, images: str, tags: str, classes: str | Sequence[str] | None
) -> Listing:
    """List an image folder by a JSON array of objects, or by one object a line.

    An object has ``image`` (a path below the image folder, its suffix being
    optional), ``tags`` (a list, or names separated by ";") and perhaps ``split``;
    whatever else it has does not count.

    Raises:
        DatasetError: If root, image folder, table or class file are missing or
            unreadable. All else that is wrong is in the listing.
    """
    table = root / tags
    photographs = Photographs(root, images)
    found = Collection()
    for place, value in values_of(table):
        try:
            image, names, split = _row(value, place)
            listed = photographs.find(image, names, split)
        except RowError as problem:
            found.problems.append(f"{table}{problem}")
        else:
            found.add(listed, table)
    class_names, wrong = name_classes(root, table, classes, found.images)
    return Listing(
        found.images,
        class_names,
        (*found.problems, *wrong),
        tuple(photographs.left_out(found, table)),
    )


def values_of(table: Path) -> Iterator[tuple[str, Any]]:
    """Yield each value of a table with its place in words."""
    try:
        text = table.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            for number, value in enumerate(json.loads(text), start=1):
                yield f"entry {number}", value
            return
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", _value(line, number)
    except FileNotFoundError:
        raise DatasetError(
            f"there is no table of tags {table}; check data.root and data.tags"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(
            f"{table} cannot be read as JSON: {error}; expected an array, or one "
            f"object a line"
        ) from None


def _value(line: str, number: int) -> Any:  # noqa: ANN401
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _row(value: Any, place: str) -> tuple[str, list[str], str]:  # noqa: ANN401
    """Return image, tags and split of an object."""
    row = value if isinstance(value, dict) else {}
    image, tags, split = row.get("image"), row.get("tags"), row.get("split", "train")
    if isinstance(tags, str):
        tags = tags.split(";")
    if not isinstance(image, str) or not isinstance(tags, list):
        raise RowError(
            f', {place}: expected an object such as {{"image": "a.jpg", "tags": '
            f'["cat"]}}'
        )
    if not all(isinstance(tag, str) for tag in tags):
        raise RowError(f", {place}: the tags of {image!r} must be names")
    if not isinstance(split, str):
        raise RowError(f", {place}: the split of {image!r} must be a name")
    return image.strip(), [tag.strip() for tag in tags], split.strip()
