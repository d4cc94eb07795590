"""Class names: where they come from, and what a name that is none might mean."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tag2mask.errors import DatasetError
from tag2mask.functional.shapes import MAX_CLASSES
from tag2mask.pictures import is_plain_text

BACKGROUND_NAME = "background"


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read one name a line; blank lines do not count.

    Raises:
        DatasetError: If the file cannot be read, naming it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a class list: {error}") from None
    return tuple(line.strip() for line in lines if line.strip())


def with_background(names: Sequence[str], *, source: str) -> tuple[str, ...]:
    """Put background first, so that a name's place is its id in label maps.

    A list that already begins with ``background`` is left as it is.

    Raises:
        DatasetError: If there is no class, one too many, one named twice, or one
            without a name or with a control code in it; background counts as named
            twice where it is not first.
    """
    given = tuple(names)
    objects = given[1:] if given[:1] == (BACKGROUND_NAME,) else given
    counts = Counter((BACKGROUND_NAME, *objects))
    twice = sorted(name for name, count in counts.items() if count > 1)
    if not objects:
        raise DatasetError(f"{source}: there is no class in it; name at least one")
    if any(not name.strip() for name in objects):
        raise DatasetError(f"{source}: a class has no name")
    if strange := [name for name in objects if not is_plain_text(name)]:
        raise DatasetError(
            f"{source}: the class {strange[0]!a} has a line break or another control "
            f"code in its name; rename it"
        )
    if twice == [BACKGROUND_NAME]:
        raise DatasetError(
            f"{source}: {BACKGROUND_NAME!r} may only be the first class, once; it is "
            f"added where it is absent"
        )
    if twice:
        raise DatasetError(f"{source}: class {', '.join(twice)} is named twice")
    if len(objects) >= MAX_CLASSES:
        raise DatasetError(
            f"{source}: {len(objects)} classes; an 8-bit label map holds at most "
            f"{MAX_CLASSES - 1} besides background"
        )
    return (BACKGROUND_NAME, *objects)


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a hint such as ``; did you mean 'train'?``, empty if nothing is near."""
    lowered = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    return f"; did you mean {lowered[near[0]]!r}?" if near else ""
