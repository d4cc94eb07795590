"""What every layout returns, and what most of them share."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
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


class RowError(Exception):
    """What is wrong with one row, to follow the name of its table."""


class Collection:
    """The images of a listing, each once, and what is wrong with them so far."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._images: dict[str, Listed] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._images

    @property
    def images(self) -> tuple[Listed, ...]:
        """All images, sorted by name."""
        return tuple(self._images[name] for name in sorted(self._images))

    def add(self, image: Listed, source: Path) -> None:
        """Add an image that ``source`` lists; a second of its name is a problem."""
        other = self._images.setdefault(image.name, image)
        if other is image:
            return
        if other.file != image.file:
            problem = (
                f"{other.file} and {image.file} would share the label map "
                f"{image.name}.png; rename one"
            )
        else:
            problem = f"image {image.name!r} is listed twice"
            if other.split != image.split:
                problem += f", as {other.split} and as {image.split}"
        self.problems.append(f"{source}: {problem}")


class Photographs:
    """The images below a folder, found as tables and lists write them.

    Raises:
        DatasetError: If there is no such folder, or no image in it.
    """

    def __init__(self, root: Path, images: str) -> None:
        self.folder = root / images
        self._images = Path(images)
        if not self.folder.is_dir():
            raise DatasetError(
                f"there is no image folder {self.folder.absolute()}; check data.root "
                f"(relative to the current folder) and data.images"
            )
        self._files = image_files(self.folder)
        if not self._files:
            raise DatasetError(
                f"{self.folder} holds no image; expected files ending in "
                f"{', '.join(SUFFIXES)}"
            )

    def files(self) -> Iterator[str]:
        """Yield all images, as paths below the folder."""
        for paths in self._files.values():
            yield from (path.relative_to(self.folder).as_posix() for path in paths)

    def left_out(self, found: Collection, source: Path) -> Iterator[str]:
        """Count the images that ``source`` does not list, if there are any."""
        if count := sum(name not in found for name in self._files):
            yield f"{count} images are not in {source}: left out"

    def find(self, image: str, tags: Iterable[str], split: str) -> Listed:
        """Find the file of an image, whose suffix is optional.

        A name whose accents are composed otherwise than the file's finds it too.

        Raises:
            RowError: If there is none, or more than one.
        """
        path = Path(image)
        stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
        candidates = self._files.get(stem.as_posix()) or self._composed.get(
            _compose(stem.as_posix()), []
        )
        exact = [each for each in candidates if each == self.folder / path]
        if not candidates:
            raise RowError(f": image {image!r} {self._why_absent(path)}")
        if not exact and len(candidates) > 1:
            both = " and ".join(each.name for each in candidates)
            raise RowError(f": image {image!r} could be {both}; write the suffix")
        found = (exact or candidates)[0].relative_to(self.folder)
        return Listed(
            found.with_suffix("").as_posix(),
            (self._images / found).as_posix(),
            tuple(dict.fromkeys(tag for tag in tags if tag)),
            split,
        )

    def _why_absent(self, path: Path) -> str:
        if not (self.folder / path).is_file():
            return f"has no file in {self.folder}"
        if path.suffix.lower() in SUFFIXES:
            return "lies in a folder that is hidden, or one that is no image folder"
        return f"is of a format that is not read; convert it to {', '.join(SUFFIXES)}"

    @cached_property
    def _composed(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for name, paths in self._files.items():
            found.setdefault(_compose(name), []).extend(paths)
        return found


def _compose(name: str) -> str:
    """Write accents as macOS does not: as one character with their letter."""
    return unicodedata.normalize("NFC", name)


def name_classes(
    root: Path,
    source: Path,
    classes: str | Sequence[str] | None,
    images: Iterable[Listed],
) -> tuple[tuple[str, ...], list[str]]:
    """Return the class names, background first, and what is wrong with the tags.

    Args:
        root: Folder that a class file lies below.
        source: What names the tags, for messages.
        classes: A file of names, the names, or None: the tags found, sorted.
        images: All that is listed.

    Raises:
        DatasetError: If the class file cannot be read.
    """
    if isinstance(classes, str):
        origin = str(root / classes)
        names = read_class_names(root / classes)
    elif classes is not None:
        origin, names = "data.classes", tuple(classes)
    else:
        # a tag "background" is no class, and is told as any other such tag
        found = {tag for image in images for tag in image.tags} - {BACKGROUND_NAME}
        origin, names = str(source), tuple(sorted(found))
    try:
        known = with_background(names, source=origin)
    except DatasetError as error:
        return (BACKGROUND_NAME,), [str(error)]
    alike = _spelt_alike(source, names) if classes is None else ()
    return known, [*alike, *_unknown_tags(source, images, known[1:])]


def _spelt_alike(source: Path, tags: Iterable[str]) -> Iterator[str]:
    """Name tags that would be classes of their own by an oversight."""
    found: dict[str, list[str]] = {}
    for tag in tags:
        found.setdefault(_compose(tag).casefold(), []).append(tag)
    for alike in found.values():
        if len(alike) > 1:
            yield (
                f"{source}: the tags {' and '.join(map(repr, alike))} differ in case "
                f"or composed accents alone; write one of them, or name both in "
                f"data.classes"
            )


def _unknown_tags(
    source: Path, images: Iterable[Listed], classes: Sequence[str]
) -> Iterator[str]:
    known = set(classes)
    first: dict[str, tuple[str, int]] = {}
    for image in images:
        for tag in image.tags:
            if tag not in known:
                name, count = first.get(tag, (image.file, 0))
                first[tag] = (name, count + 1)
    for tag, (file, count) in first.items():
        more = f" and {count - 1} more" if count > 1 else ""
        hint = nearest(tag, classes)
        yield f"{source}: tag {tag!r} of {file}{more} is no class{hint}"
