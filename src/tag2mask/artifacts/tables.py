"""The index: which images there are, their tags and their classes."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tag2mask.artifacts.files import cure, read_json, whole_file, write_json
from tag2mask.errors import ArtifactError


class ImageRecord(NamedTuple):
    """One image.

    Attributes:
        name: Its path below the image folder, without suffix.
        file: Its path below ``data.root``.
        width: Upright, in pixels.
        height: Upright, in pixels.
        tags: Class ids, ascending, never background.
        split: ``train`` or ``val``.
    """

    name: str
    file: str
    width: int
    height: int
    tags: tuple[int, ...]
    split: str


class Index:
    """The finished index below a folder, and the root of the images it lists."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self._root = root

    def path(self, image: ImageRecord) -> Path:
        """Return where an image is."""
        return self._root / image.file

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names by class id, background first."""
        return tuple(read_json(self.folder / "classes.json"))

    @cached_property
    def images(self) -> tuple[ImageRecord, ...]:
        """All images, sorted by name."""
        path = self.folder / "images.jsonl"
        try:
            with path.open(encoding="utf-8") as stream:
                rows = [ImageRecord(**json.loads(line)) for line in stream]
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ArtifactError(
                f"{path} cannot be read as an index: {error}; {cure(path)}"
            ) from None
        return tuple(row._replace(tags=tuple(row.tags)) for row in rows)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the data without its being an error."""
        return tuple(read_json(self.folder / "notes.json"))

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.class_names)

    def split(self, name: str) -> tuple[ImageRecord, ...]:
        """Return the images of one split, sorted by name."""
        return tuple(image for image in self.images if image.split == name)


def write_index(
    folder: Path,
    images: Iterable[ImageRecord],
    class_names: Iterable[str],
    notes: Iterable[str],
) -> None:
    """Write an index that ``Index`` reads."""
    with (
        whole_file(folder / "images.jsonl") as scratch,
        scratch.open("w", encoding="utf-8") as stream,
    ):
        for image in images:
            stream.write(json.dumps(image._asdict(), ensure_ascii=False) + "\n")
    write_json(folder / "classes.json", list(class_names))
    write_json(folder / "notes.json", list(notes))
