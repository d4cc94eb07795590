"""Read the annotation files of COCO: which categories, images and annotations."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tag2mask.errors import DatasetError
from tag2mask.pictures import is_plain_text

_PARTS: dict[str, dict[str, type]] = {
    "categories": {"id": int, "name": str},
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int},
}
"""The lists of a file, and what each of their objects must have."""
_UNREAD = ("bbox", "caption", "captions", "license", "flickr_url", "coco_url")


def read_coco(
    path: Path, *, key: str, shape: Callable[[Any], Any] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Read an instances file; what tells nothing of tags or masks is dropped at once.

    Args:
        path: Such as ``instances_train2014.json``.
        key: What names the file, for messages.
        shape: Stores each ``segmentation`` as it likes; None drops them all.

    Returns:
        ``categories``, ``images`` and ``annotations``.

    Raises:
        DatasetError: If it is missing, no JSON, or lacks one of these, naming it.
    """
    slim = partial(_slim, shape=shape)
    try:
        with path.open(encoding="utf-8-sig") as stream:
            content = json.load(stream, object_hook=slim)
    except FileNotFoundError:
        raise DatasetError(f"there is no annotation file {path}; check {key}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}") from None
    for part, needed in _PARTS.items():
        _check(content, part, needed, path)
    _refuse_strange_files(content["images"], path)
    return {part: content[part] for part in _PARTS}


def _slim(
    table: dict[str, Any], *, shape: Callable[[Any], Any] | None
) -> dict[str, Any]:
    """Drop the parts of an object that nobody reads, while the file is being read."""
    for each in _UNREAD:
        table.pop(each, None)
    if "segmentation" in table:
        outline = table.pop("segmentation")
        if shape is not None:
            table["segmentation"] = shape(outline)
    return table


def _refuse_strange_files(images: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Refuse file names that lead out of the folder they are below."""
    for row in images:
        file = PurePosixPath(row["file_name"])
        is_below = file.name and not file.is_absolute() and ".." not in file.parts
        if not is_below or not is_plain_text(row["file_name"]):
            raise DatasetError(
                f"{path}: the file_name {row['file_name']!r} is no path below an image "
                f"folder"
            )


def _check(content: Any, part: str, needed: Mapping[str, type], path: Path) -> None:  # noqa: ANN401
    rows = content.get(part) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise DatasetError(
            f"{path} has no list {part!r}; expected COCO's instances, such as "
            f"instances_train2014.json"
        )
    for number, row in enumerate(rows):
        for name, kind in needed.items():
            if not isinstance(row, dict) or not isinstance(row.get(name), kind):
                raise DatasetError(
                    f"{path}: {part}[{number}] has no {name!r} of type {kind.__name__}"
                )


def categories_of(content: Mapping[str, Any]) -> dict[int, str]:
    """Return the categories by id, ascending: the first has id 1 in masks."""
    return {
        row["id"]: row["name"].strip()
        for row in sorted(content["categories"], key=lambda row: row["id"])
    }
