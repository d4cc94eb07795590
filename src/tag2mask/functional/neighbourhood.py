"""Pairs of near pixels and what lies between them, shared by IRNet and its walk."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64


class Pair(NamedTuple):
    """Two pixels of a neighbourhood, and the pixels on the line between them.

    Rows and columns are relative to the first pixel. Both arrays are read-only.
    """

    offset: Int64[np.ndarray, "2"]
    """Row and column of the second pixel; it lies below, or to the right in the row."""
    path: Int64[np.ndarray, "n 2"]
    """Row and column of each pixel on the path, both ends included."""


@lru_cache(maxsize=16)
def pairs_within(radius: int) -> tuple[Pair, ...]:
    """List the pairs of pixels nearer than a radius, each unordered pair once.

    The second pixel lies at a distance strictly below the radius. Their path is the
    pixels of the rectangle between them whose squared distance from the line through
    both is below 1, as in the code of IRNet (Ahn et al., CVPR 2019). It never leaves an
    image that holds both ends.

    Args:
        radius: In pixels, at least 1, which leaves a pixel alone. 5 gives 34 pairs,
            10 gives 152.

    Returns:
        Pairs by rows of the second pixel, then by columns.

    Raises:
        ValueError: If the radius is below 1.
    """
    if radius < 1:
        raise ValueError(f"radius must be at least 1, got {radius}")
    near = range(1 - radius, radius)
    offsets = [
        (down, right)
        for down in range(radius)
        for right in near
        if (down, right) > (0, 0) and down**2 + right**2 < radius**2
    ]
    return tuple(Pair(_frozen(each), _frozen(_path(*each))) for each in offsets)


def _path(down: int, right: int) -> list[tuple[int, int]]:
    """Return the pixels on the way to the one that lies so far down and right."""
    step = 1 if right >= 0 else -1
    return [
        (y, x)
        for y in range(down + 1)
        for x in range(0, right + step, step)
        # twice the triangle's area, squared, is distance^2 times length^2
        if (down * x - right * y) ** 2 < down**2 + right**2
    ]


def _frozen(
    places: tuple[int, int] | list[tuple[int, int]],
) -> Int64[np.ndarray, "*n 2"]:
    array = np.array(places, np.int64)
    array.setflags(write=False)  # the cache hands the same arrays to everyone
    return array
