"""Folders of images and what is said about each."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask.data.images import SUFFIXES, image_files
from tag2mask.errors import DatasetError

TABLE = "captions.csv"
IMAGES = "images"
_NEEDED = ("image", "caption")


class Captioned(NamedTuple):
    """An image and its caption.

    Attributes:
        path: Where the image is.
        caption: What is said about it, never empty.
    """

    path: Path
    caption: str


def read_captions(root: Path) -> tuple[Captioned, ...]:
    """Return the pairs that ``captions.csv`` lists, in its order.

    The table has the columns ``image`` (a path below ``images``, its suffix being
    optional), ``caption`` and perhaps ``split``, of which only ``train`` is taken. An
    image may have several captions, each in a row of its own.

    Raises:
        DatasetError: If the table is missing or lists no pair, an image is missing or
            could be several, or a caption is empty; naming table and line.
    """
    table = root / TABLE
    files = image_files(root / IMAGES) if (root / IMAGES).is_dir() else {}
    pairs = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", strict=True)
            _require_columns(table, reader.fieldnames or ())
            for row in reader:
                where = f"{table}, line {reader.line_num}"
                pairs += _pair(row, files, root / IMAGES, where)
    except FileNotFoundError:
        raise DatasetError(
            f"there is no table of captions {table}; write one with the columns image "
            f"and caption, beside a folder {IMAGES}"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV table: {error}") from None
    if not pairs:
        raise DatasetError(
            f"{table} lists no pair of image and caption to train on; add rows, of "
            f"split train if it has splits"
        )
    return tuple(pairs)


def _require_columns(table: Path, columns: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise DatasetError(
            f"{table}: expected the columns image, caption and perhaps split; "
            f"{' and '.join(missing)} not among {', '.join(columns) or 'none'}"
        )


def _pair(
    row: dict[str | Any, str | Any],
    files: dict[str, list[Path]],
    folder: Path,
    where: str,
) -> list[Captioned]:
    """Return the pair of a row, none if it is of another split than ``train``."""
    if row.get("split", "train").strip() != "train":
        return []
    if None in row:
        raise DatasetError(f"{where}: more fields than columns; quote the caption")
    image, caption = row["image"].strip(), row["caption"].strip()
    if not caption:
        raise DatasetError(
            f"{where}: the caption of image {image!r} is empty; write one or remove "
            f"the row"
        )
    return [Captioned(_find(image, files, folder, where), caption)]


def _find(image: str, files: dict[str, list[Path]], folder: Path, where: str) -> Path:
    path = Path(image)
    stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    candidates = files.get(stem.as_posix(), [])
    exact = [each for each in candidates if each == folder / path]
    if not candidates:
        raise DatasetError(
            f"{where}: image {image!r} has no file in {folder}; add it or remove the "
            f"row"
        )
    if not exact and len(candidates) > 1:
        both = " and ".join(each.name for each in candidates)
        raise DatasetError(
            f"{where}: image {image!r} could be {both}; write the suffix"
        )
    return (exact or candidates)[0]
