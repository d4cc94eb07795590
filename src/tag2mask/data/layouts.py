"""Layouts of tagged images on disk: each lists images, their tags and their split."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tag2mask.data.classes import nearest, read_class_names, with_background
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
        DatasetError: If root, image folder or table are missing or unreadable.
    """
    files = _images_below(root / images)
    table = root / tags
    problems: list[str] = []
    listed: dict[str, Listed] = {}
    for row in _rows(table):
        path, problem = _find(row["image"], files, root / images)
        if path is None:
            problems.append(f"{table}: {problem}")
            continue
        name = path.relative_to(root / images).with_suffix("").as_posix()
        if name in listed:
            problems.append(f"{table}: image {row['image']!r} is listed twice")
            continue
        names = [tag.strip() for tag in row["tags"].split(";")]
        unique = tuple(dict.fromkeys(tag for tag in names if tag))
        split = row.get("split", "train").strip()
        file = path.relative_to(root).as_posix()
        listed[name] = Listed(name, file, unique, split)
    class_names = _class_names(root, table, classes, list(listed.values()))
    problems += _unknown_tags(table, listed.values(), class_names)
    left_out = sum(name not in listed for name in files)
    notes = [f"{left_out} images are not in {table}: left out"] if left_out else []
    return Listing(
        tuple(listed[name] for name in sorted(listed)),
        class_names,
        tuple(problems),
        tuple(notes),
    )


def _images_below(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise DatasetError(f"there is no image folder {folder}; check data.root")
    files = image_files(folder)
    if not files:
        raise DatasetError(
            f"{folder} holds no image; expected files ending in {', '.join(SUFFIXES)}"
        )
    return files


def _rows(table: Path) -> Iterator[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", strict=True)
            missing = {"image", "tags"} - set(reader.fieldnames or ())
            if missing:
                raise DatasetError(
                    f"{table}: expected the columns image, tags and perhaps split; "
                    f"{' and '.join(sorted(missing))} not among "
                    f"{', '.join(reader.fieldnames or ()) or 'none'}"
                )
            for row in reader:
                if None in row:
                    raise DatasetError(
                        f"{table}, line {reader.line_num}: more fields than columns; "
                        f'separate tags by ";", or quote a name that has a comma'
                    )
                yield row
    except FileNotFoundError:
        raise DatasetError(f"there is no table of tags {table}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV table: {error}") from None


def _find(
    image: str, files: dict[str, list[Path]], folder: Path
) -> tuple[Path | None, str]:
    """Find the file of a row; otherwise say why there is none."""
    path = Path(image.strip())
    stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    candidates = files.get(stem.as_posix(), [])
    exact = [each for each in candidates if each == folder / path]
    if exact or len(candidates) == 1:
        return (exact or candidates)[0], ""
    if candidates:
        both = " and ".join(each.name for each in candidates)
        return None, f"image {image!r} could be {both}; write the suffix"
    return None, f"image {image!r} has no file in {folder}"


def _class_names(
    root: Path, table: Path, classes: str | Sequence[str] | None, images: list[Listed]
) -> tuple[str, ...]:
    if isinstance(classes, str):
        path = root / classes
        return with_background(read_class_names(path), source=str(path))
    if classes is not None:
        return with_background(tuple(classes), source="data.classes")
    found = sorted({tag for image in images for tag in image.tags})
    return with_background(found, source=str(table))


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
