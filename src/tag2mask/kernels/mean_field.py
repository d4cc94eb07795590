"""The steps of mean field inference over the pixels of an image.

Rows hold one value a label, padded to a multiple of ``LANES``; all arrays are
contiguous. Energies are logarithms to base 2. See `permutohedral` for the lattices.
"""

import numpy as np
from numba import njit

from tag2mask.kernels.lanes import (
    LANES,
    add,
    add_scaled,
    fill,
    larger,
    largest,
    load,
    power_of_two,
    scaled,
    store,
    total,
)
from tag2mask.kernels.permutohedral import Floats, Rows

BOTH_LATTICES = 9
"""Vertices around a pixel on the spatial lattice and on the bilateral one."""
_BLOCK = 64
"""Pixels that are turned from planes into rows at a time: they fit the first cache."""
_GROUP = 16
"""Pixels whose steps overlap."""
_NOTHING = np.float32(-1e30)
"""Evidence of padding: finite, as fast maths asks."""
_FLUSHED = np.float32(-60.0)
"""Octaves below the likeliest label at which a label counts as impossible: denormal
numbers in the lattice cost ten times the time."""


@njit(cache=True, nogil=True, error_model="numpy")
def into_rows(planes: Floats, rows: Floats) -> None:
    """Turn labels x pixels into pixels x labels, padded with no evidence.

    Args:
        planes: labels x pixels.
        rows: pixels x labels, to write; at least as many labels.
    """
    num_labels, num_pixels = planes.shape
    for start in range(0, num_pixels, _BLOCK):
        stop = min(start + _BLOCK, num_pixels)
        for label in range(num_labels):
            for pixel in range(start, stop):
                rows[pixel, label] = planes[label, pixel]
        for pixel in range(start, stop):
            for label in range(num_labels, rows.shape[1]):
                rows[pixel, label] = _NOTHING


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="always")
def _softmax(q: Floats, start: int, length: int) -> None:
    """Turn energies, in octaves, into shares of one, in place."""
    most = load(q, start)
    for c in range(LANES, length, LANES):
        most = larger(most, load(q, start + c))
    below = fill(-largest(most))
    sums = fill(np.float32(0))
    for c in range(0, length, LANES):
        x = power_of_two(add(load(q, start + c), below), _FLUSHED)
        sums = add(sums, x)
        store(q, start + c, x)
    inverse = np.float32(1) / total(sums)
    for c in range(0, length, LANES):
        store(q, start + c, scaled(load(q, start + c), inverse))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="always")
def _update(
    arrays: tuple[Floats, Rows, Floats, Floats, Floats, Floats],
    length: int,
    corners: int,
) -> None:
    """Do what `update` does, for rows and lists of vertices of these lengths."""
    evidence, vertices, weights, sliced, splat, marginals = arrays
    num_pixels = evidence.shape[0]
    q = np.empty((_GROUP, length), np.float32)
    for start in range(0, num_pixels, _GROUP):
        size = min(_GROUP, num_pixels - start)
        for p in range(size):
            pixel = start + p
            for c in range(0, length, LANES):
                x = load(evidence, pixel * length + c)
                if sliced.shape[0] > 0:
                    for r in range(corners):
                        place = vertices[pixel, r] * length + c
                        x = add_scaled(x, load(sliced, place), weights[pixel, r])
                store(q, p * length + c, x)
        for p in range(size):
            _softmax(q, p * length, length)
        for label in range(marginals.shape[0]):
            for p in range(size):
                marginals[label, start + p] = q[p, label]
        if splat.shape[0] > 0:
            for p in range(size):
                pixel = start + p
                for c in range(0, length, LANES):
                    x = load(q, p * length + c)
                    for r in range(corners):
                        place = vertices[pixel, r] * length + c
                        y = add_scaled(load(splat, place), x, weights[pixel, r])
                        store(splat, place, y)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def update(
    evidence: Floats,
    vertices: Rows,
    weights: Floats,
    sliced: Floats,
    splat: Floats,
    marginals: Floats,
) -> None:
    """Slice all lattices, take the softmax, and splat it again.

    A few pixels at a time: their rows stay in the first cache from reading to writing,
    and the steps of one pixel, each of which waits for the one before it, overlap with
    those of the others.

    Args:
        evidence: pixels x labels: minus the unary energy.
        vertices: pixels x vertices of all lattices.
        weights: pixels x vertices of all lattices.
        sliced: rows x labels: blurred values to read. No rows: nothing is added.
        splat: rows x labels: values to add to. No rows: nothing is splat.
        marginals: labels without padding x pixels, to write. No labels: nothing is
            written.
    """
    length, corners = evidence.shape[1], vertices.shape[1]
    arrays = evidence, vertices, weights, sliced, splat, marginals
    # the commonest shapes as constants, whose loops are rolled out
    if length == LANES and corners == BOTH_LATTICES:
        _update(arrays, LANES, BOTH_LATTICES)
    elif length == 3 * LANES and corners == BOTH_LATTICES:
        _update(arrays, 3 * LANES, BOTH_LATTICES)
    else:
        _update(arrays, length, corners)
