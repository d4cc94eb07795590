"""Gaussian filtering on the permutohedral lattice, for mean field inference.

The lattice of Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the
Permutohedral Lattice" (Eurographics 2010). Features of ``d`` dimensions lie in a
hyperplane of ``d + 1`` coordinates that sum to zero; each point spreads over the
``d + 1`` vertices of the simplex around it (splat), each vertex mixes with its two
neighbours along each of ``d + 1`` axes (blur), and the points read back (slice).

Several lattices share one table of values, a row for each vertex, and one list of
vertices for each pixel, so that one pass over the pixels serves all of them. Row 0 is
no vertex: it stands for the neighbours that vertices at the rim lack, and stays zero.

Rows hold one value a label, padded to a multiple of ``LANES``, so that loops over them
vectorise; all arrays of rows are contiguous. Energies are logarithms to base 2.
"""

from collections.abc import Callable

import llvmlite.ir as ir  # type: ignore[import-untyped]
import numpy as np
from numba import njit
from numba.core import types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.uint32]
"""Rows of the table of values; unsigned, so that no index is tested for its sign."""
Keys = NDArray[np.int64]

LANES = 8
"""Values that one vector instruction works on."""
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
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: float32 beside it are whole numbers
_ROUND_BITS = np.int32(0x4B400000)
_ONE_BITS = np.int32(0x3F800000)
_LN_2 = np.float32(np.log(2))
_FLUSHED = np.float32(-60.0)


def _lower_add_scaled(
    _typing: object,
    target: types.Type,
    _to: types.Type,
    source: types.Type,
    _start: types.Type,
    _weight: types.Type,
) -> tuple[Signature, Callable[..., ir.Value]]:
    """``target.flat[to + i] += weight * source.flat[start + i]`` for ``LANES`` values.

    A loop over so few values would spend most of its time on the question whether the
    arrays overlap: without it, `update` takes a third to a half longer.
    """
    signature = types.void(target, types.intp, source, types.intp, types.float32)
    vector = ir.VectorType(ir.FloatType(), LANES)
    unset = ir.Constant(vector, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

    def emit(
        context: ir.Value,
        builder: ir.IRBuilder,
        signature: Signature,
        arguments: list[ir.Value],
    ) -> ir.Value:
        places = []
        for array in (0, 2):
            kind = context.make_array(signature.args[array])
            data = kind(context, builder, arguments[array]).data
            place = builder.gep(data, [arguments[array + 1]])
            places.append(builder.bitcast(place, vector.as_pointer()))
        first = ir.Constant(ir.IntType(32), 0)
        weight = builder.insert_element(unset, arguments[4], first)
        weight = builder.shuffle_vector(weight, unset, zeros)
        values = builder.load(places[1], align=4)
        scaled = builder.fmul(values, weight, flags=("fast",))
        total = builder.load(places[0], align=4)
        total = builder.fadd(total, scaled, flags=("fast",))
        builder.store(total, places[0], align=4)
        return context.get_dummy_value()

    return signature, emit


_add_scaled: Callable[..., None] = intrinsic(_lower_add_scaled)


@njit(cache=True, nogil=True)
def _slot(key: np.int64, keys: Keys, table: Ints) -> np.int64:
    """Position in the table that holds the key, or else the free one to put it."""
    mask = table.size - 1
    position = (key * _SPREAD >> 32) & mask
    while table[position] >= 0 and keys[table[position]] != key:
        position = (position + 1) & mask
    return position


@njit(cache=True, nogil=True)
def _grow(keys: Keys, table: Ints) -> tuple[Keys, Ints]:
    """Twice the room; a table stays at most half full, so probes stay short."""
    more_keys = np.empty(2 * keys.size, np.int64)
    more_keys[: keys.size] = keys
    more_table = np.full(2 * table.size, -1, np.int32)
    for cell in range(keys.size):
        more_table[_slot(keys[cell], more_keys, more_table)] = cell
    return more_keys, more_table


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def build_lattice(
    features: Floats, first: int, column: int, vertices: Rows, weights: Floats
) -> tuple[Rows, int]:
    """Find the vertices around each point and the neighbours of each vertex.

    Args:
        features: points x d, in standard deviations; d is 2 or 5, and below 1e5.
        first: Row of the table of values at which this lattice begins; at least 1.
        column: Where the d + 1 columns of this lattice begin in the next two.
        vertices: points x corners; filled with rows of the table of values.
        weights: points x corners; filled with barycentric coordinates, which sum to
            one for each point and lattice.

    Returns:
        The path that `blur` walks, and the number of vertices.
    """
    num_points, dim = features.shape
    axes = dim + 1
    scales = np.empty(dim, np.float32)
    for i in range(dim):
        scales[i] = SCALE * axes / np.sqrt(np.float32((i + 1) * (i + 2)))
    steps = np.empty(axes, np.int64)
    steps[:dim] = STEPS[:dim]
    steps[dim] = -STEPS[:dim].sum()

    keys = np.empty(1 << 13, np.int64)
    table = np.full(1 << 14, -1, np.int32)
    num_cells = 0
    per_axis = np.float32(1 / axes)
    residual = np.empty(axes, np.float32)
    multiple = np.empty(axes, np.int64)
    rank = np.empty(axes, np.int64)
    ordered = np.empty(axes, np.float32)
    axis_of = np.empty(axes, np.int64)
    for point in range(num_points):
        # into the hyperplane, then the nearest multiple of axes in each coordinate
        total = np.float32(0)
        excess = 0
        for i in range(dim, -1, -1):
            coordinate = total
            if i > 0:
                scaled = features[point, i - 1] * scales[i - 1]
                coordinate -= i * scaled
                total += scaled
            nearest = np.floor(coordinate * per_axis + np.float32(0.5))
            multiple[i] = np.int64(nearest)
            excess += multiple[i]
            residual[i] = coordinate - nearest * axes
            rank[i] = 0
        for i in range(dim):
            for j in range(i + 1, axes):
                ahead = residual[i] < residual[j]
                rank[i] += ahead
                rank[j] += not ahead
        # multiples that do not sum to zero: move those that were rounded the most
        key = np.int64(0)
        for i in range(axes):
            place = rank[i] + excess
            while place >= axes:
                place -= axes
                multiple[i] -= 1
                residual[i] += axes
            while place < 0:
                place += axes
                multiple[i] += 1
                residual[i] -= axes
            ordered[place] = residual[i]
            axis_of[place] = i
            key -= multiple[i] * steps[i]
        # the simplex: one step along each axis, from the largest residual's on
        for r in range(axes):
            if r == 0:
                weight = 1 - (ordered[0] - ordered[dim]) * per_axis
            else:
                weight = (ordered[dim - r] - ordered[dim - r + 1]) * per_axis
            weights[point, column + r] = weight
            cell = vertices[point - 1, column + r] - first if point > 0 else -1
            if cell < 0 or keys[cell] != key:
                position = _slot(key, keys, table)
                cell = table[position]
                if cell < 0:
                    if num_cells == keys.size:
                        keys, table = _grow(keys, table)
                        position = _slot(key, keys, table)
                    cell = num_cells
                    keys[cell] = key
                    table[position] = cell
                    num_cells += 1
            vertices[point, column + r] = first + cell
            key += steps[axis_of[dim - r]]

    return _paths(steps, keys, table, num_cells, first), num_cells


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
        values: rows x labels; row 0 must be zero.
        path: Rows in the order in which they lie along the axes, each line of
            neighbours begun and ended by 0; paths of several lattices may be joined.
    """
    num_labels = values.shape[1]
    before = np.zeros(num_labels, np.float32)
    here = np.zeros(num_labels, np.float32)
    current = np.uint32(0)
    for following in path:
        after = values[following]
        # a product, for the ends of short lines make a branch hard to foretell
        keep = np.float32(current > 0)
        half = keep * np.float32(0.5)
        out = values[current]
        for c in range(num_labels):
            out[c] = keep * here[c] + half * (before[c] + after[c])
            before[c] = here[c]
            here[c] = after[c]
        current = following


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def normalise(
    num_rows: int,
    path: Rows,
    columns: tuple[int, int],
    vertices: Rows,
    weights: Floats,
    strength: float,
) -> None:
    """Weigh by strength, and divide by the square root of the kernel's row sums.

    Changes ``weights``, after which splat, blur and slice apply
    ``strength * D**-1/2 K D**-1/2``. Any gain of the blur itself cancels.
    """
    values = np.zeros((num_rows, 1), np.float32)
    for point in range(vertices.shape[0]):
        for r in range(columns[0], columns[1]):
            values[vertices[point, r], 0] += weights[point, r]
    blur(values, path)
    for point in range(vertices.shape[0]):
        total = np.float32(0)
        for r in range(columns[0], columns[1]):
            total += weights[point, r] * values[vertices[point, r], 0]
        factor = np.sqrt(strength / total)
        for r in range(columns[0], columns[1]):
            weights[point, r] *= factor


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def update(
    evidence: Floats,
    vertices: Rows,
    weights: Floats,
    sliced: Floats,
    splat: Floats,
    marginals: Floats,
) -> None:
    """Slice all lattices, take the softmax, and splat it again, pixel by pixel.

    A pixel's row of labels stays in the first cache from reading to writing.

    Args:
        evidence: pixels x labels: minus the unary energy.
        vertices: pixels x vertices of all lattices.
        weights: pixels x vertices of all lattices.
        sliced: rows x labels: blurred values to read. No rows: nothing is added.
        splat: rows x labels: values to add to. No rows: nothing is splat.
        marginals: pixels x labels, to write. No pixels: nothing is written.
    """
    num_pixels, num_labels = evidence.shape
    corners = vertices.shape[1]
    q = np.empty(num_labels, np.float32)
    rounded = np.empty(num_labels, np.float32)
    bits = rounded.view(np.int32)
    for pixel in range(num_pixels):
        mine = evidence[pixel]
        for c in range(num_labels):
            q[c] = mine[c]
        if sliced.shape[0] > 0:
            for c in range(0, num_labels, LANES):
                for r in range(corners):
                    row = vertices[pixel, r] * num_labels
                    _add_scaled(q, c, sliced, row + c, weights[pixel, r])
        largest = q[0]
        for c in range(1, num_labels):
            largest = max(largest, q[c])
        # 2**q: a series within half an octave, the octave put into the exponent's bits
        for c in range(num_labels):
            q[c] = max(q[c] - largest, _FLUSHED)
            rounded[c] = q[c] + _ROUND
        total = np.float32(0)
        for c in range(num_labels):
            x = (q[c] - np.float32(np.int32(bits[c] - _ROUND_BITS))) * _LN_2
            p = np.float32(1 / 720)
            p = p * x + np.float32(1 / 120)
            p = p * x + np.float32(1 / 24)
            p = p * x + np.float32(1 / 6)
            p = p * x + np.float32(0.5)
            p = p * x + np.float32(1)
            p = p * x + np.float32(1)
            bits[c] = (bits[c] << 23) + _ONE_BITS
            # zero, for denormal numbers in the lattice cost ten times the time
            q[c] = p * rounded[c] if q[c] > _FLUSHED else np.float32(0)
            total += q[c]
        inverse = 1 / total
        if marginals.shape[0] > 0:
            mine = marginals[pixel]
            for c in range(num_labels):
                mine[c] = q[c] * inverse
        if splat.shape[0] > 0:
            for r in range(corners):
                row = vertices[pixel, r] * num_labels
                weight = weights[pixel, r] * inverse
                for c in range(0, num_labels, LANES):
                    _add_scaled(splat, row + c, q, c, weight)
