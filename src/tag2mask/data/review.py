"""What a person said of images while looking at their pseudo masks: review.jsonl."""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, get_args

from tag2mask.errors import ArtifactError, DatasetError

MarkKind = Literal["leave_out", "wrong_tags", "keep"]
_KINDS = get_args(MarkKind)


class Mark(NamedTuple):
    """What was said of one image.

    Attributes:
        image: Its name.
        mark: ``leave_out``: do not learn from it. ``wrong_tags``: neither, until its
            tags change. ``keep``: takes an earlier mark back.
        tags: The names of its tags when that was said.
    """

    image: str
    mark: MarkKind
    tags: tuple[str, ...]

    def leaves_out(self, tags: Iterable[str]) -> bool:
        """Whether an image that has these tags now is left out."""
        if self.mark == "wrong_tags":
            return set(tags) == set(self.tags)
        return self.mark == "leave_out"


class ReviewFile:
    """Marks in JSON Lines: only ever appended to, the last one of an image counts.

    A line that a crash cut short was never confirmed to anyone: it does not count, and
    the next mark takes its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writing = threading.Lock()

    def read(self) -> Mapping[str, Mark]:
        """Return the mark that counts for each image; no file holds none.

        Raises:
            DatasetError: If the file cannot be read or a line is no mark, naming it.
        """
        try:
            *lines, rest = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DatasetError(
                f"{self.path} cannot be read as a review: {error.strerror}; check "
                f"data.review"
            ) from None
        found = {mark.image: mark for mark in self._parsed(lines)}
        if (last := _parse(rest)) is not None:
            found[last.image] = last
        return {name: mark for name, mark in found.items() if mark.mark != "keep"}

    def append(self, mark: Mark) -> None:
        """Add a mark; when this returns it is on the disk.

        Raises:
            ArtifactError: If it cannot be written; the file is as it was then.
        """
        line = json.dumps(mark._asdict()).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._writing, self.path.open("a+b", buffering=0) as stream:
                end = _mend(stream)
                try:
                    if stream.write(line) != len(line):
                        raise OSError("the disk is full")
                    os.fsync(stream.fileno())
                except OSError:
                    with suppress(OSError):  # the first error says what is wrong
                        stream.truncate(end)
                    raise
        except OSError as error:
            raise ArtifactError(
                f"cannot write {self.path}: {error.strerror or error}; make room, or "
                f"run the recipe again with data.review set to a path that can be "
                f"written"
            ) from None

    def _parsed(self, lines: Iterable[bytes]) -> Iterator[Mark]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            mark = _parse(line)
            if mark is None:
                raise DatasetError(
                    f"{self.path}, line {number}: expected an object with image, mark "
                    f"({', '.join(_KINDS)}) and tags; mend or delete the line"
                )
            yield mark


def _parse(line: bytes) -> Mark | None:
    """Return the mark of a line, None if it is none."""
    try:
        row = json.loads(line)
        image, mark, tags = row["image"], row["mark"], row.get("tags", [])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    texts = [image, *tags] if isinstance(tags, list) else [None]
    if mark not in _KINDS or not all(isinstance(text, str) for text in texts):
        return None
    return Mark(image, mark, tuple(tags))


def _mend(stream: BinaryIO) -> int:
    """Complete or drop a last line without its break; return where the file ends."""
    stream.seek(0)
    content = stream.read()
    rest = content[content.rfind(b"\n") + 1 :]
    if not rest:
        return len(content)
    if _parse(rest) is not None:  # typed by hand
        stream.write(b"\n")
        return len(content) + 1
    return stream.truncate(len(content) - len(rest))
