"""Gaussian filtering on the permutohedral lattice, for mean field inference.

The lattice of Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the
Permutohedral Lattice" (Eurographics 2010). Features of ``d`` dimensions lie in a
hyperplane of ``d + 1`` coordinates that sum to zero; each point spreads over the
``d + 1`` vertices of the simplex around it (splat), each vertex mixes with its two
neighbours along each of ``d + 1`` axes (blur), and the points read back (slice).

Several lattices share one table of values, a row for each vertex, and one list of
vertices for each pixel, so that one pass over the pixels serves all of them. Row 0 is
no vertex: it stands for the neighbours that vertices at the rim lack, and stays zero.

Rows hold one value a label, padded to a multiple of ``LANES``; all arrays of rows are
contiguous.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tag2mask.kernels.lanes import LANES, add_scaled, load, scaled, store

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.uint32]
"""Rows of the table of values; unsigned, so that no index is tested for its sign."""
Keys = NDArray[np.int64]

SCALE = np.float32(np.sqrt(2 / 3))
"""Ratio that gives splat, blur and slice together unit variance (section 3.1)."""
STEPS = np.array(
    [
        0x2545F4914F6CDD1D,
        0x369DEA0F31A53F85,
        0x1B03738712FAD5C9,
        0x4C957F2D5851F42D,
        0x5851F42D4C957F2D,
    ],
    np.int64,
)
"""What a step along each axis but the last adds to the key of a vertex.

The last axis undoes the others, so its step is minus their sum. Keys are sums modulo
2**64; two vertices share one, and merge, only thousands of steps apart: the shortest
such vector that lattice reduction finds has length 6351 for d = 5.
"""
_SPREAD = np.int64(0x1E3779B97F4A7C15)
_BLOCK = 64
"""Points whose simplices are found together, vector by vector."""


@njit(cache=True, nogil=True)
def _slot(key: np.int64, keys: Keys, table: Ints) -> np.int64:
    """Position in the table that holds the key, or else the free one to put it."""
    mask = table.size - 1
    position = (key * _SPREAD >> 32) & mask
    while table[position] >= 0 and keys[table[position]] != key:
        position = (position + 1) & mask
    return position


@njit(cache=True, nogil=True)
def _grow(
    keys: Keys, table: Ints, mass: Floats, num_cells: int
) -> tuple[Keys, Ints, Floats]:
    """Twice the room; a table stays at most a quarter full, so probes stay short."""
    more_keys = np.empty(2 * keys.size, np.int64)
    more_keys[: keys.size] = keys
    more_mass = np.zeros(2 * keys.size, np.float32)
    more_mass[: keys.size] = mass
    more_table = np.full(2 * table.size, -1, np.int32)
    for cell in range(num_cells):
        more_table[_slot(keys[cell], more_keys, more_table)] = cell
    return more_keys, more_table, more_mass


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _find_simplices(
    features: Floats,
    start: int,
    scales: Floats,
    simplices: tuple[Ints, Floats, Ints],
) -> None:
    """Find the simplex around each of some points, axis by axis.

    Args:
        features: d x points.
        start: The first of the points, as many as the simplices have columns.
        scales: What each dimension is multiplied by on its way into the hyperplane.
        simplices: Three times axes x points, to write: the vertex of remainder 0, over
            d + 1; what is left of the point from there; the place of each of these
            residuals, from the largest.
    """
    multiple, residual, rank = simplices
    axes, size = residual.shape
    per_axis = np.float32(1 / axes)
    width = np.float32(axes)
    sums = np.zeros(size, np.float32)
    excess = np.zeros(size, np.int32)
    rank[:] = 0
    for i in range(axes - 1, -1, -1):
        for p in range(size):
            coordinate = sums[p]
            if i > 0:
                scaled = features[i - 1, start + p] * scales[i - 1]
                coordinate -= np.float32(i) * scaled
                sums[p] += scaled
            nearest = np.floor(coordinate * per_axis + np.float32(0.5))
            multiple[i, p] = np.int32(nearest)
            excess[p] += np.int32(nearest)
            residual[i, p] = coordinate - nearest * width
    for i in range(axes - 1):
        for j in range(i + 1, axes):
            for p in range(size):
                ahead = np.int32(residual[i, p] < residual[j, p])
                rank[i, p] += ahead
                rank[j, p] += np.int32(1) - ahead
    # multiples that do not sum to zero: move those that were rounded the most; they
    # are off by at most axes / 2 in all, so that none moves twice
    for i in range(axes):
        for p in range(size):
            place = rank[i, p] + excess[p]
            turns = np.int32(place >= axes) - np.int32(place < 0)
            rank[i, p] = place - turns * np.int32(axes)
            multiple[i, p] -= turns
            residual[i, p] += np.float32(turns) * width


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="always")
def _enter(
    simplices: tuple[Ints, Floats, Ints],
    steps: Keys,
    known: tuple[Keys, Ints, Floats],
    num_cells: int,
    vertices: Rows,
    weights: Floats,
    origin: tuple[int, int],
    axes: int,
) -> int:
    """Do what `_find_vertices` does, for simplices of this many corners."""
    multiple, residual, rank = simplices
    keys, table, mass = known
    first, column = origin
    size = residual.shape[1]
    dim = axes - 1
    mask = table.size - 1
    per_axis = np.float32(1 / axes)
    ordered = np.empty(axes, np.float32)
    step_of = np.empty(axes, np.int64)
    for p in range(size):
        key = np.int64(0)
        for i in range(axes):
            place = rank[i, p]
            ordered[place] = residual[i, p]
            step_of[place] = steps[i]
            key -= np.int64(multiple[i, p]) * steps[i]
        # one step along each axis, from the largest residual's on
        for r in range(axes):
            if r == 0:
                weight = 1 - (ordered[0] - ordered[dim]) * per_axis
            else:
                weight = (ordered[dim - r] - ordered[dim - r + 1]) * per_axis
            position = (key * _SPREAD >> 32) & mask
            while True:
                cell = table[position]
                if cell < 0:
                    cell = np.int32(num_cells)
                    keys[cell] = key
                    table[position] = cell
                    num_cells += 1
                    break
                if keys[cell] == key:
                    break
                position = (position + 1) & mask
            mass[cell] += weight
            weights[p, column + r] = weight
            vertices[p, column + r] = first + cell
            key += step_of[dim - r]
    return num_cells


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _find_vertices(
    simplices: tuple[Ints, Floats, Ints],
    steps: Keys,
    known: tuple[Keys, Ints, Floats],
    num_cells: int,
    vertices: Rows,
    weights: Floats,
    origin: tuple[int, int],
) -> int:
    """Look up, or enter, the vertices of some simplices; return how many there are.

    Args:
        simplices: Multiples, residuals and ranks, from `_find_simplices`.
        steps: What a step along each axis adds to a key.
        known: Keys by cell, cells by slot, sum of weights by cell; with enough room
            for as many new cells as the simplices have vertices.
        num_cells: Number of cells so far.
        vertices: points x corners, to write.
        weights: points x corners, to write.
        origin: First row and first column of the lattice in these.
    """
    # dimensions as constants, whose loops are rolled out
    if steps.size == 6:
        return _enter(simplices, steps, known, num_cells, vertices, weights, origin, 6)
    return _enter(simplices, steps, known, num_cells, vertices, weights, origin, 3)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def build_lattice(
    features: Floats, first: int, column: int, vertices: Rows, weights: Floats
) -> tuple[Rows, Floats]:
    """Find the vertices around each point and the neighbours of each vertex.

    Args:
        features: d x points, in standard deviations; d is 2 or 5, and values are
            below 1e5.
        first: Row of the table of values at which this lattice begins; at least 1.
        column: Where the d + 1 columns of this lattice begin in the next two.
        vertices: points x corners; filled with rows of the table of values.
        weights: points x corners; filled with barycentric coordinates, which sum to
            one for each point and lattice.

    Returns:
        The path that `blur` walks, and the sum of the weights at each vertex.
    """
    dim, num_points = features.shape
    axes = dim + 1
    scales = np.empty(dim, np.float32)
    for i in range(dim):
        scales[i] = SCALE * axes / np.sqrt(np.float32((i + 1) * (i + 2)))
    steps = np.empty(axes, np.int64)
    steps[:dim] = STEPS[:dim]
    steps[dim] = -STEPS[:dim].sum()

    keys = np.empty(1 << 13, np.int64)
    table = np.full(1 << 15, -1, np.int32)
    mass = np.zeros(keys.size, np.float32)
    num_cells = 0
    multiple = np.empty((axes, _BLOCK), np.int32)
    residual = np.empty((axes, _BLOCK), np.float32)
    rank = np.empty((axes, _BLOCK), np.int32)
    for start in range(0, num_points, _BLOCK):
        if num_cells + axes * _BLOCK > keys.size:
            keys, table, mass = _grow(keys, table, mass, num_cells)
        size = min(_BLOCK, num_points - start)
        simplices = multiple[:, :size], residual[:, :size], rank[:, :size]
        _find_simplices(features, start, scales, simplices)
        num_cells = _find_vertices(
            simplices,
            steps,
            (keys, table, mass),
            num_cells,
            vertices[start : start + size],
            weights[start : start + size],
            (first, column),
        )
    return _paths(steps, keys, table, num_cells, first), mass[:num_cells].copy()


@njit(cache=True, nogil=True)
def _paths(steps: Keys, keys: Keys, table: Ints, num_cells: int, first: int) -> Rows:
    """Line up the vertices along each axis, lines parted by 0, single ones left out."""
    after = np.empty(num_cells, np.int32)
    is_start = np.empty(num_cells, np.bool_)
    path = np.empty(2 * steps.size * num_cells + 1, np.uint32)
    path[0] = 0
    length = 1
    for step in steps:
        is_start[:] = True
        for cell in range(num_cells):
            after[cell] = table[_slot(keys[cell] + step, keys, table)]
            if after[cell] >= 0:
                is_start[after[cell]] = False
        for start in range(num_cells):
            if is_start[start] and after[start] >= 0:
                cell = start
                while cell >= 0:
                    path[length] = first + cell
                    length += 1
                    cell = after[cell]
                path[length] = 0
                length += 1
    return path[:length].copy()


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def blur(values: Floats, path: Rows) -> None:
    """Mix each vertex with its neighbours along each axis, by 1/2, 1, 1/2, in place.

    Args:
        values: rows x labels, a multiple of ``LANES``; row 0 must be zero.
        path: Rows in the order in which they lie along the axes, each line of
            neighbours begun and ended by 0; paths of several lattices may be joined.
    """
    length = values.shape[1]
    before = np.zeros(length, np.float32)
    here = np.zeros(length, np.float32)
    half = np.float32(0.5)
    current = np.uint64(0)
    for following in path:
        # a product, for the ends of short lines make a branch hard to foretell
        keep = np.float32(current > 0)
        for c in range(0, length, LANES):
            after = load(values, following * length + c)
            middle = load(here, c)
            mixed = scaled(middle, keep)
            mixed = add_scaled(mixed, load(before, c), keep * half)
            mixed = add_scaled(mixed, after, keep * half)
            store(values, current * length + c, mixed)
            store(before, c, middle)
            store(here, c, after)
        current = np.uint64(following)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def normalise(
    path: Rows,
    mass: Floats,
    columns: tuple[int, int],
    vertices: Rows,
    weights: Floats,
    strength: float,
) -> None:
    """Weigh by strength, and divide by the square root of the kernel's row sums.

    Changes ``weights``, after which splat, blur and slice apply
    ``strength * D**-1/2 K D**-1/2``. Any gain of the blur itself cancels.

    Args:
        path: Of one lattice.
        mass: The sum of the weights at each row of the table of values, 0 in the rows
            of other lattices; is blurred.
        columns: Where this lattice begins and ends in the next two.
        vertices: points x corners.
        weights: points x corners.
        strength: The kernel's weight in octaves.
    """
    before = here = np.float32(0)
    current = np.uint64(0)
    for following in path:
        after = mass[following]
        keep = np.float32(current > 0)
        mass[current] = keep * (here + np.float32(0.5) * (before + after))
        before, here, current = here, after, np.uint64(following)
    for point in range(vertices.shape[0]):
        total = np.float32(0)
        for r in range(columns[0], columns[1]):
            total += weights[point, r] * mass[vertices[point, r]]
        factor = np.float32(np.sqrt(strength / total))
        for r in range(columns[0], columns[1]):
            weights[point, r] *= factor
