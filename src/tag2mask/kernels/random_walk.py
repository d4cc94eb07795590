"""The random walk on a fixed neighbourhood: a stencil applied again and again.

All planes are padded with zeros on every side by what the stencil reaches, and flat, so
that a neighbour lies a fixed number of entries away and no border needs a test. An
affinity is stored once for both of its pixels, at the one from which the neighbour
lies ahead.

Callers check shapes and values; the kernels trust them. They let go of the
interpreter's lock and share nothing: call them from several threads.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def add_differences(
    values: np.ndarray,
    affinities: np.ndarray,
    shifts: np.ndarray,
    begin: int,
    end: int,
    total: np.ndarray,
) -> None:
    """Sum, for each pixel of a run, how far its neighbours lie above it, by affinity.

    Differences, since what is constant then stays so to the last bit, however many
    steps it walks.

    Args:
        values: Float "p", one padded plane.
        affinities: Float "n p", padded, of the pairs.
        shifts: Int64 "n", entries from a pixel to the neighbour ahead.
        begin: First pixel of the run.
        end: One behind its last pixel; both in one row.
        total: Float "end-begin", overwritten.
    """
    total[:] = 0
    width = end - begin
    here = values[begin:end]
    for pair in range(shifts.size):
        shift = shifts[pair]
        forth = affinities[pair, begin:end]
        ahead = values[begin + shift : end + shift]
        back = affinities[pair, begin - shift : end - shift]
        behind = values[begin - shift : end - shift]
        for i in range(width):
            rise = forth[i] * (ahead[i] - here[i])
            total[i] += rise + back[i] * (behind[i] - here[i])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def walk(
    maps: np.ndarray,
    affinities: np.ndarray,
    shifts: np.ndarray,
    padded_width: int,
    reach: int,
    num_steps: int,
) -> np.ndarray:
    """Replace every value by the mean of its neighbourhood, ``num_steps`` times.

    Args:
        maps: Float "k p", padded planes; overwritten.
        affinities: Float "n p", padded, of the pairs; all of one type with the maps.
        shifts: Int64 "n", entries from a pixel to the neighbour ahead.
        padded_width: Columns of a plane.
        reach: Width of the padding.
        num_steps: How often.

    Returns:
        Float "k p", padded planes.
    """
    num_maps, num_entries = maps.shape
    height = num_entries // padded_width - 2 * reach
    width = padded_width - 2 * reach
    share = np.ones((height, width), maps.dtype)
    for y in range(height):
        begin = (y + reach) * padded_width + reach
        for pair in range(shifts.size):
            forth = affinities[pair, begin : begin + width]
            back = affinities[pair, begin - shifts[pair] :]
            for x in range(width):
                share[y, x] += forth[x] + back[x]
        share[y] = 1 / share[y]
    after = np.zeros_like(maps)
    for _ in range(num_steps):
        # a row's affinities serve all maps while they are in the cache
        for y in range(height):
            begin = (y + reach) * padded_width + reach
            for k in range(num_maps):
                row = after[k, begin : begin + width]
                add_differences(maps[k], affinities, shifts, begin, begin + width, row)
                for x in range(width):
                    row[x] = maps[k, begin + x] + row[x] * share[y, x]
        maps, after = after, maps
    return maps
