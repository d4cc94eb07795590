"""Layouts of tagged images on disk: each lists images, their tags and their split."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tag2mask.data.classes import (
    BACKGROUND_NAME,
    nearest,
    read_class_names,
    with_background,
)
from tag2mask.data.images import SUFFIXES, image_files
from tag2mask.errors import DatasetError


class Listed(NamedTuple):
    """One image as its layout lists it.

    Attributes:
        name: Its path below the image folder, without suffix.
        file: Its path below the root.
        tags: Names as written, in their order.
        split: As written; ``train`` where the layout has no splits.
    """

    name: str
    file: str
    tags: tuple[str, ...]
    split: str


class Listing(NamedTuple):
    """What a layout lists, and all that is wrong with it."""

    images: tuple[Listed, ...]
    class_names: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


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
    folder, table = root / images, root / tags
    files = _images_below(folder)
    listed: dict[str, Listed] = {}
    problems: list[str] = []
    for row in _rows(table):
        try:
            image = _image(row, files, folder, images)
            _refuse_twice(image, listed)
        except _RowError as problem:
            problems.append(f"{table}{problem}")
        else:
            listed[image.name] = image
    class_names, wrong = _class_names(root, table, classes, listed.values())
    problems += wrong or _unknown_tags(table, listed.values(), class_names)
    left_out = sum(name not in listed for name in files)
    notes = [f"{left_out} images are not in {table}: left out"] if left_out else []
    return Listing(
        tuple(listed[name] for name in sorted(listed)),
        class_names,
        tuple(problems),
        tuple(notes),
    )


class _RowError(Exception):
    """What is wrong with one row, to follow the name of its table."""


class _Row(NamedTuple):
    number: int
    cells: dict[str, str]
    is_too_long: bool


def _image(
    row: _Row, files: dict[str, list[Path]], folder: Path, images: str
) -> Listed:
    if row.is_too_long:
        raise _RowError(
            f", line {row.number}: more fields than columns; separate tags by "
            f'";", or quote a name that has a comma'
        )
    path = _find(row.cells["image"].strip(), files, folder).relative_to(folder)
    tags = [tag.strip() for tag in row.cells["tags"].split(";")]
    return Listed(
        path.with_suffix("").as_posix(),
        (Path(images) / path).as_posix(),
        tuple(dict.fromkeys(tag for tag in tags if tag)),
        row.cells.get("split", "train").strip(),
    )


def _refuse_twice(image: Listed, listed: Mapping[str, Listed]) -> None:
    other = listed.get(image.name)
    if other is not None and other.file == image.file:
        raise _RowError(f": image {image.name!r} is listed twice")
    if other is not None:
        raise _RowError(
            f": {other.file} and {image.file} would share the label map "
            f"{image.name}.png; rename one"
        )


def _images_below(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise DatasetError(
            f"there is no image folder {folder}; check data.root and data.images"
        )
    files = image_files(folder)
    if not files:
        raise DatasetError(
            f"{folder} holds no image; expected files ending in {', '.join(SUFFIXES)}"
        )
    return files


def _rows(table: Path) -> Iterator[_Row]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey="", restval="", strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            missing = {"image", "tags"} - set(columns)
            if missing:
                raise DatasetError(
                    f"{table}: expected the columns image, tags and perhaps split; "
                    f"{' and '.join(sorted(missing))} not among "
                    f"{', '.join(columns) or 'none'}"
                )
            reader.fieldnames = columns
            for cells in reader:
                yield _Row(reader.line_num, cells, is_too_long="" in cells)
    except FileNotFoundError:
        raise DatasetError(
            f"there is no table of tags {table}; check data.root and data.tags"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV table: {error}") from None


def _find(image: str, files: dict[str, list[Path]], folder: Path) -> Path:
    """Find the file of a row."""
    path = Path(image)
    stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    candidates = files.get(stem.as_posix(), [])
    exact = [each for each in candidates if each == folder / path]
    if exact or len(candidates) == 1:
        return (exact or candidates)[0]
    if candidates:
        both = " and ".join(each.name for each in candidates)
        raise _RowError(f": image {image!r} could be {both}; write the suffix")
    raise _RowError(f": image {image!r} has no file in {folder}")


def _class_names(
    root: Path,
    table: Path,
    classes: str | Sequence[str] | None,
    images: Iterable[Listed],
) -> tuple[tuple[str, ...], list[str]]:
    """Return the names, background first, or what is wrong with them."""
    if isinstance(classes, str):
        source = str(root / classes)
        names = read_class_names(root / classes)
    elif classes is not None:
        source, names = "data.classes", tuple(classes)
    else:
        # a tag "background" is no class, and is told as any other such tag
        found = {tag for image in images for tag in image.tags} - {BACKGROUND_NAME}
        source, names = str(table), tuple(sorted(found))
    try:
        return with_background(names, source=source), []
    except DatasetError as error:
        return (BACKGROUND_NAME,), [str(error)]


def _unknown_tags(
    table: Path, images: Iterable[Listed], class_names: Sequence[str]
) -> Iterator[str]:
    objects = class_names[1:]
    known = set(objects)
    first: dict[str, tuple[str, int]] = {}
    for image in images:
        for tag in image.tags:
            if tag not in known:
                name, count = first.get(tag, (image.file, 0))
                first[tag] = (name, count + 1)
    for tag, (file, count) in first.items():
        more = f" and {count - 1} more" if count > 1 else ""
        yield (
            f"{table}: tag {tag!r} of {file}{more} is no class{nearest(tag, objects)}"
        )
