"""COCO's run-length codes."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool


def decode_runs(
    code: Mapping[str, Any], height: int, width: int
) -> Bool[np.ndarray, "h w"]:
    """Return the pixels of a run-length code, its runs being listed or compressed.

    Raises:
        ValueError: If it is none, or of an image of another size, saying why.
    """
    counts = code.get("counts")
    if code.get("size") != [height, width]:
        raise ValueError(f"its size is not that of the image, {height}x{width}")
    if isinstance(counts, str):
        return fill_runs(read_runs(counts.encode()), height, width)
    return fill_runs(counts if isinstance(counts, array) else [], height, width)


def fill_runs(runs: Sequence[int], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Lay runs outside and inside, in turn, down one column after the other.

    Raises:
        ValueError: If they do not fill the image.
    """
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError("the runs of its code do not fill the image")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def read_runs(code: bytes) -> list[int]:
    """Read the runs of COCO's compressed form.

    A run is written in groups of five bits, the lowest first, each in one character
    from "0" upwards; a sixth bit says that more follow, and the fifth bit of the last
    group is the sign. From the fourth run on it is the difference from the last run
    but one.

    Raises:
        ValueError: If the code is damaged or cut off.
    """
    runs: list[int] = []
    value = shift = 0
    for character in code:
        group = character - ord("0")
        if not 0 <= group < 64 or shift > 50:
            raise ValueError("its compressed code is damaged")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its compressed code is cut off")
    return runs
