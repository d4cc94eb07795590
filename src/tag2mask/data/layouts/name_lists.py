"""Lists of image names, one a line."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tag2mask.data.classes import nearest
from tag2mask.errors import DatasetError

_PAIR = re.compile(r"(\S+\.\w+)\s+\S+\.png")
"""An image and its mask, as the lists of SBD have it."""


def read_names(path: Path, images: str, *, key: str) -> Iterator[str]:
    """Yield the names of a list, as paths below the image folder.

    A line is a name, a path that begins with the image folder, or an image and its
    mask separated by a space; only the image counts. Blank lines do not count.

    Args:
        path: The list.
        images: The image folder, as it is written below the root.
        key: What names the list in the recipe, for messages.

    Raises:
        DatasetError: If it cannot be read or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        hint = nearest(path.stem, [each.stem for each in path.parent.glob("*.txt")])
        raise DatasetError(
            f"there is no list {path}; check data.root and {key}{hint}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a list: {error}") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DatasetError(f"{path} names no image; write one name a line")
    for name in names:
        pair = _PAIR.fullmatch(name)
        yield _below(pair[1] if pair else name, images)


def _below(name: str, images: str) -> str:
    """Take the image folder off the front of a path."""
    path, folder = PurePosixPath(name.removeprefix("/")), PurePosixPath(images)
    below = path.relative_to(folder) if path.is_relative_to(folder) else path
    return below.as_posix()
