"""Label Studio's JSON: its tasks, where their images are, and what was drawn."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from jaxtyping import UInt8

from tag2mask.data.brush_code import decode_brush
from tag2mask.errors import DatasetError
from tag2mask.pictures import is_plain_text

IGNORED = "ignored"
"""Label of pixels that are unlabelled."""
_UPLOADED = re.compile(r"[0-9a-f]{8}-")
"""What Label Studio puts before the name of a file that was uploaded to it."""
_MOST_PIXELS = 100_000_000
_MOST_STEPS = 64
"""Of a path: every end of an address is looked for."""


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """Read an export: a JSON array of tasks, each with ``data``.

    Raises:
        DatasetError: If it is missing or none, naming it.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DatasetError(f"there is no export of Label Studio {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(tasks, list):
        raise DatasetError(f"{path}: expected Label Studio's export as JSON, a list")
    for number, task in enumerate(tasks, start=1):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise DatasetError(
                f"{path}, task {number}: there is no 'data' in it; export as JSON, not "
                f"as JSON-MIN"
            )
    return tasks


def results_of(task: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Return what each annotation of a task says; skipped ones say nothing."""
    rows = _list(task.get("annotations"))
    return [
        [each for each in _list(row.get("result")) if isinstance(each, dict)]
        for row in rows
        if isinstance(row, dict) and not row.get("was_cancelled")
    ]


def _list(value: object) -> list[Any]:
    """Return a list as it is, and an empty one of anything else."""
    return value if isinstance(value, list) else []


def _is_count(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number; ``true`` is none, though Python adds it up."""
    return isinstance(value, int) and not isinstance(value, bool)


def task_name(task: Mapping[str, Any]) -> str:
    """Return the name of a task's image: ``name`` of its data, or of its file.

    Raises:
        ValueError: If it has neither, or a name that leads out of a folder.
    """
    name = task["data"].get("name")
    if not isinstance(name, str):
        address = task["data"].get("image")
        files = list(possible_files(address)) if isinstance(address, str) else []
        name = PurePosixPath(files[-1]).stem if files else ""
    path = PurePosixPath(name)
    is_below = path.name and not path.is_absolute() and ".." not in path.parts
    if not is_below or not is_plain_text(name):
        raise ValueError("its data has neither a name nor the address of an image")
    return name


def task_size(task: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return ``height`` and ``width`` of a task's data, if they are there."""
    height, width = task["data"].get("height"), task["data"].get("width")
    if not _is_count(height) or not _is_count(width):
        return None
    is_photograph = min(height, width) > 0 and height * width <= _MOST_PIXELS
    return (height, width) if is_photograph else None


def possible_files(address: str) -> Iterator[str]:
    """Yield what an image's address may be called below a folder, the longest first.

    The address is a path, or one of ``/data/upload/``, ``/data/local-files/?d=``, a
    web server or a bucket.
    """
    try:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d", [""])[0]
        file = local or unquote(parts.path)
    except ValueError:  # brackets that are not of an address
        file = address
    steps = [s for s in PurePosixPath(file).parts if s not in ("/", "..", ".")]
    steps = steps[-_MOST_STEPS:]
    for start in range(len(steps)):
        yield "/".join(steps[start:])
    if steps and _UPLOADED.match(steps[-1]):
        yield _UPLOADED.sub("", steps[-1], count=1)


def draw_regions(
    regions: Iterable[Mapping[str, Any]],
    ids: Mapping[str, int],
    *,
    size: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "h w"]:
    """Draw brush regions over background; later ones cover earlier ones.

    Args:
        regions: Of one annotation; those that are no brush do not count.
        ids: Class id by label.
        size: Height and width; None: as the regions say.

    Raises:
        ValueError: If a region's code, size or label is none.
    """
    labels = None if size is None else np.zeros(size, np.uint8)
    for region in regions:
        if region.get("type") != "brushlabels":
            continue
        height, width = _region_size(region)
        if labels is None:
            labels = np.zeros((height, width), np.uint8)
        if labels.shape != (height, width):
            raise ValueError(f"a region of {width}x{height} is of another image")
        value = region.get("value")
        value = value if isinstance(value, dict) else {}
        for label in _list(value.get("brushlabels")):
            if not isinstance(label, str) or label not in ids:
                raise ValueError(f"the label {label!r} is no class")
            code = _list(value.get("rle"))
            painted = decode_brush(code, height=height, width=width)
            labels[painted] = ids[label]
    if labels is None:
        raise ValueError("it has no brush, so that its size is not known")
    return labels


def _region_size(region: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of the image that a region is of, in pixels."""
    height, width = region.get("original_height"), region.get("original_width")
    if not _is_count(height) or not _is_count(width):
        raise ValueError("a region has no size")
    if min(height, width) < 1 or height * width > _MOST_PIXELS:
        raise ValueError(f"a region of {width}x{height} pixels is of no photograph")
    return height, width
