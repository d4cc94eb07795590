"""Files that are either whole or absent."""

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tag2mask.errors import ArtifactError

SCRATCH_PREFIX = ".scratch-"
KEY = re.compile("[0-9a-f]{12}")
"""Name of an artifact's folder."""
_TAIL = 40
"""Characters of a name that its scratch file keeps: a file system allows 255 bytes."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path`` that becomes ``path`` on success.

    A reader, or a later run, never meets half a file: after a crash there is either
    the old file or none. The scratch file shares the folder so that the rename is
    atomic, and carries process and thread so that two writers never share one.

    Raises:
        ArtifactError: If the disk is full or the folder cannot be written.
    """
    writer = f"{os.getpid()}-{threading.get_ident()}"
    scratch = path.with_name(f"{SCRATCH_PREFIX}{writer}-{path.name[-_TAIL:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        scratch.replace(path)
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror or error}; make room or choose "
            f"another folder, then run the same command again: it continues"
        ) from error
    finally:
        with suppress(OSError):  # it must not hide why the file was not written
            scratch.unlink(missing_ok=True)


def is_scratch(path: Path) -> bool:
    """Whether a file is what a crash left of ``whole_file``."""
    return path.name.startswith(SCRATCH_PREFIX)


def clear_scratch(folder: Path) -> None:
    """Delete what a crash left of ``whole_file`` below a folder."""
    for path in folder.rglob(f"{SCRATCH_PREFIX}*"):
        path.unlink(missing_ok=True)


def cure(path: Path) -> str:
    """Say what to do about a damaged file: delete its artifact, if it is of one."""
    for folder in path.parents:
        if KEY.fullmatch(folder.name):
            return f"delete {folder} and run the recipe again"
    return "have it written again"


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with whole_file(path) as scratch:
        scratch.write_text(
            json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read a JSON file that this package wrote.

    Raises:
        ArtifactError: If the file is missing or is no JSON, naming it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; {cure(path)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} cannot be read as JSON: {error}; {cure(path)}"
        ) from error


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or one of all names and contents of a folder."""
    if path.is_file():
        return file_digest(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    listed = {each.relative_to(path).as_posix(): file_digest(each) for each in files}
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def digest(value: object) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_digests(folder: Path, listing: Path) -> None:
    """List the SHA-256 of every file below ``folder`` as ``sha256sum`` does.

    A name with a line break would not survive; no image can have one.
    """
    with (
        whole_file(listing) as scratch,
        scratch.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not is_scratch(path):
                name = path.relative_to(folder).as_posix()
                stream.write(f"{file_digest(path)}  {name}\n")


def read_digests(listing: Path) -> Mapping[str, str]:
    """Read what ``write_digests`` wrote: file name to SHA-256."""
    rows = (
        line.split("  ", 1)
        for line in listing.read_text(encoding="utf-8").split("\n")
        if line
    )
    return {name: value for value, name in rows}
