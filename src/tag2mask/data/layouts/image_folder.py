"""Layout ``image_folder``: ``imagefolder`` of Hugging Face, with metadata.jsonl."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tag2mask.data.layouts.json_table import values_of
from tag2mask.data.layouts.listing import (
    Collection,
    Listing,
    Photographs,
    RowError,
    name_classes,
)
from tag2mask.data.layouts.numbered import named, names_by_number


def list_image_folder(
    root: Path,
    *,
    metadata: str,
    column: str,
    splits: Sequence[str],
    classes: str | Sequence[str] | None,
) -> Listing:
    """List images by the metadata beside them.

    The file is in the folder of each split, or at the root: then a row's split is its
    own ``split``, the first one where it has none.

    Args:
        root: Folder of the data set.
        metadata: Name of the file: an object a line, with ``file_name``, a path from
            where the file is, and the tags.
        column: Its key for tags: a name, a number, or a list of either. Numbers are
            places in the class list, from 0.
        splits: Names of the folders that may hold a split, training first.
        classes: A file of names, the names, or None: the tags found, sorted.

    Raises:
        DatasetError: If there is no metadata, or it or the class file cannot be read.
            All else that is wrong is in the listing.
    """
    photographs = Photographs(root, "")
    numbered = names_by_number(root, classes)
    found = Collection()
    tables = {
        split: root / split / metadata
        for split in splits
        if (root / split / metadata).is_file()
    } or {splits[0]: root / metadata}
    for split, table in tables.items():
        for place, value in values_of(table):
            try:
                row = value if isinstance(value, dict) else {}
                file = _file(row, place, table.parent.relative_to(root))
                names = named(row.get(column), numbered, f"{place} of {column!r}")
                own = row.get("split", split) if table.parent == root else split
                found.add(photographs.find(file, names, str(own)), table)
            except RowError as problem:
                found.problems.append(f"{table}{problem}")
    source = next(iter(tables.values()))
    class_names, wrong = name_classes(root, source, classes, found.images)
    return Listing(
        found.images,
        class_names,
        (*found.problems, *wrong),
        tuple(photographs.left_out(found, source)),
    )


def _file(row: dict[str, Any], place: str, folder: Path) -> str:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise RowError(
            f', {place}: expected an object such as {{"file_name": "a.jpg", "tags": '
            f'["cat"]}}'
        )
    file = PurePosixPath(name)
    if file.is_absolute() or ".." in file.parts:
        raise RowError(f", {place}: the file_name {name!r} leads out of its folder")
    return (folder / file).as_posix()
