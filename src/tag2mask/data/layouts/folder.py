"""Layout ``folder``: an image folder and a CSV table of tags."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tag2mask.data.layouts.listing import (
    Collection,
    Listing,
    Photographs,
    RowError,
    name_classes,
)
from tag2mask.errors import DatasetError

_COLUMNS = ("image", "tags", "split")


def list_folder(
    root: Path, *, images: str, tags: str, classes: str | Sequence[str] | None
) -> Listing:
    """List a plain folder: an image folder and a CSV table of tags.

    The table has the columns ``image`` (a path below the image folder, its suffix
    being optional), ``tags`` (names separated by ";") and perhaps ``split``.

    Raises:
        DatasetError: If root, image folder, table or class file are missing or
            unreadable. All else that is wrong is in the listing.
    """
    table = root / tags
    photographs = Photographs(root, images)
    found = Collection()
    for row in _rows(table):
        try:
            _refuse_too_long(row)
            image = photographs.find(
                row.cells["image"].strip(),
                [tag.strip() for tag in row.cells["tags"].split(";")],
                row.cells.get("split", "train").strip(),
            )
        except RowError as problem:
            found.problems.append(f"{table}{problem}")
        else:
            found.add(image, table)
    class_names, wrong = name_classes(root, table, classes, found.images)
    return Listing(
        found.images,
        class_names,
        (*found.problems, *wrong),
        tuple(photographs.left_out(found, table)),
    )


class _Row(NamedTuple):
    number: int
    cells: dict[str, str]
    is_too_long: bool


def _refuse_too_long(row: _Row) -> None:
    if row.is_too_long:
        raise RowError(
            f", line {row.number}: more fields than columns; separate tags by "
            f'";", or quote a name that has a comma'
        )


def _rows(table: Path) -> Iterator[_Row]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            missing = {"image", "tags"} - set(columns)
            if missing:
                raise DatasetError(
                    f"{table}: expected the columns image, tags and perhaps split; "
                    f"{' and '.join(sorted(missing))} not among "
                    f"{', '.join(columns) or 'none'}"
                )
            twice = [name for name in _COLUMNS if columns.count(name) > 1]
            if twice:
                raise DatasetError(
                    f"{table} has the column {twice[0]} twice; remove or rename one"
                )
            reader.fieldnames = columns
            for cells in reader:
                # fields without a column are below None
                yield _Row(reader.line_num, cells, is_too_long=None in cells)
    except FileNotFoundError:
        raise DatasetError(
            f"there is no table of tags {table}; check data.root and data.tags"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV table: {error}") from None
