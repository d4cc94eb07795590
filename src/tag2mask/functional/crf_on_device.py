"""Mean field inference by torch alone, a batch at once, on any device.

The same lattice as in `tag2mask.kernels.permutohedral`, with sorted keys in the place
of a hash table. Sums are taken in a fixed order, never by atomic additions, so that
the same input gives the same marginals.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import embedding_bag

from tag2mask.functional.crf_presets import SMALLEST_SCORE, CrfPreset, kernels_of
from tag2mask.kernels.permutohedral import SCALE, STEPS

_NO_EVIDENCE = -1e30
"""Of labels that take no part: finite, so that nothing times it is a number."""
_LONGEST_SUM = 128
"""Values that one thread adds up: in a clear sky, a vertex hears of every pixel."""


def infer_on_device(
    scores: Float[Tensor, "b k h w"],
    is_kept: Bool[Tensor, "b k"],
    images: UInt8[Tensor, "i h w 3"],
    preset: CrfPreset,
) -> Float[Tensor, "b k h w"]:
    """Return marginals; see `crf.dense_crf`, which checks what this does not.

    Args:
        scores: Where all of the work is done.
        is_kept: Labels that take part; at least one of each item.
        images: One for all items, or one each.
        preset: Knobs in their ranges.
    """
    is_used = is_kept.any(dim=0)
    logs = scores[:, is_used].clamp(SMALLEST_SCORE).log()
    logs = logs.masked_fill(~is_kept[:, is_used, None, None], _NO_EVIDENCE)
    _, num_labels, height, width = logs.shape
    # items of one image lie beside each other, those of several below each other
    shape = len(images), -1, num_labels, height * width
    evidence = logs.view(shape).permute(0, 3, 1, 2).flatten(0, 1).contiguous()  # p s k
    marginals = evidence.softmax(dim=2)
    if preset.iterations and kernels_of(preset):
        joined = _join([_lattice_of(image, preset) for image in images], dim=0)
        gaussians = _make_filter(joined)
        for _ in range(preset.iterations):
            pull = gaussians.apply(marginals.flatten(1)).view_as(evidence)
            marginals = (evidence + pull).softmax(dim=2)
    found = marginals.view(len(images), height * width, -1, num_labels)
    result = torch.zeros_like(scores, memory_format=torch.contiguous_format)
    result[:, is_used] = found.permute(0, 2, 3, 1).reshape(logs.shape)
    return result


class _Lattice(NamedTuple):
    """Vertices around points, and their neighbours; vertex 0 stands for none."""

    vertices: Int[Tensor, "p corners"]
    weights: Float[Tensor, "p corners"]
    neighbours: Int[Tensor, "axes 2 rows"]


class _Splat(NamedTuple):
    """Sums over the points around each vertex, in pieces of a bounded length."""

    points: Int[Tensor, "n"]
    weights: Float[Tensor, "n"]
    starts: Int[Tensor, "pieces"]
    firsts: Int[Tensor, "rows"]

    def sums(self, values: Float[Tensor, "p k"]) -> Float[Tensor, "rows k"]:
        """Spread the points' values over the vertices around them."""
        pieces = embedding_bag(
            self.points,
            values,
            self.starts,
            mode="sum",
            per_sample_weights=self.weights,
        )
        numbers = torch.arange(len(pieces), device=values.device)
        return embedding_bag(numbers, pieces, self.firsts, mode="sum")


class _Filter(NamedTuple):
    """Splat, blur and slice on one lattice."""

    lattice: _Lattice
    splat: _Splat

    def apply(self, values: Float[Tensor, "p k"]) -> Float[Tensor, "p k"]:
        """Return the values of the points, filtered."""
        vertices, weights, neighbours = self.lattice
        rows = self.splat.sums(values)
        for before, after in neighbours:
            rows = rows + 0.5 * (rows[before] + rows[after])
        return embedding_bag(vertices, rows, mode="sum", per_sample_weights=weights)


def _make_filter(lattice: _Lattice) -> _Filter:
    """Sort the corners of the points by the vertex that they lie at."""
    corners = lattice.vertices.flatten()
    order = corners.argsort(stable=True)
    counts = corners.bincount(minlength=lattice.neighbours.shape[2])
    pieces = (counts + _LONGEST_SUM - 1) // _LONGEST_SUM
    firsts = pieces.cumsum(0) - pieces
    num_pieces = int(pieces.sum())  # told below too, or a GPU is asked for it again
    number = torch.arange(num_pieces, device=corners.device)
    number = number - firsts.repeat_interleave(pieces, output_size=num_pieces)
    begin = counts.cumsum(0) - counts
    starts = begin.repeat_interleave(pieces, output_size=num_pieces)
    splat = _Splat(
        order // lattice.vertices.shape[1],
        lattice.weights.flatten()[order],
        starts + number * _LONGEST_SUM,
        firsts,
    )
    return _Filter(lattice, splat)


def _lattice_of(image: UInt8[Tensor, "h w 3"], preset: CrfPreset) -> _Lattice:
    """Build the lattices of all kernels as one, normalised and weighed."""
    built = []
    for kernel in kernels_of(preset):
        lattice = _build(kernel.features(image))
        ones = lattice.weights.new_ones(len(lattice.weights), 1)
        row_sums = _make_filter(lattice).apply(ones)
        factor = (kernel.weight / row_sums).sqrt()
        built.append(lattice._replace(weights=lattice.weights * factor))
    return _join(built, dim=1)


def _join(lattices: list[_Lattice], *, dim: int) -> _Lattice:
    """Put lattices of other points (0), or of the same points (1), into one."""
    num_axes = max(len(each.neighbours) for each in lattices)
    vertices, neighbours, num_rows = [], [], 1
    for each in lattices:
        moved = num_rows - 1
        vertices.append(each.vertices + moved)
        # an axis that a lattice lacks has no neighbours; of row 0 there is one
        rows = each.neighbours[:, :, 1:]
        rows = torch.where(rows > 0, rows + moved, 0)
        missing = rows.new_zeros(num_axes - len(rows), *rows.shape[1:])
        neighbours.append(torch.cat([rows, missing]))
        num_rows += rows.shape[2]
    nothing = neighbours[0].new_zeros(num_axes, 2, 1)
    return _Lattice(
        torch.cat(vertices, dim),
        torch.cat([each.weights for each in lattices], dim),
        torch.cat([nothing, *neighbours], dim=2),
    )


def _build(features: Float[Tensor, "d p"]) -> _Lattice:
    """Find the vertices around each point and the neighbours of each vertex."""
    first = torch.from_numpy(STEPS[: len(features)]).to(features.device)
    steps = torch.cat([first, -first.sum(0, keepdim=True)])
    keys, weights = _find_simplices(features, steps)
    cells, found = keys.unique(return_inverse=True)
    sides = []
    for wanted in (cells - steps[:, None], cells + steps[:, None]):
        place = torch.searchsorted(cells, wanted).clamp(max=len(cells) - 1)
        sides.append(torch.where(cells[place] == wanted, place + 1, 0))
    neighbours = torch.stack(sides, dim=1)
    nothing = neighbours.new_zeros(*neighbours.shape[:2], 1)
    return _Lattice(
        (found + 1).T.contiguous(),
        weights.T.contiguous(),
        torch.cat([nothing, neighbours], dim=2),
    )


def _find_simplices(
    features: Float[Tensor, "d p"], steps: Int[Tensor, "d+1"]
) -> tuple[Int[Tensor, "d+1 p"], Float[Tensor, "d+1 p"]]:
    """Return the keys of the vertices around each point, and their weights."""
    axes = len(steps)
    total = torch.zeros_like(features[0])
    rising = []
    for i in range(axes - 1, 0, -1):
        moved = features[i - 1] * (float(SCALE) * axes / math.sqrt(i * (i + 1)))
        rising.append(total - i * moved)
        total = total + moved
    coordinates = torch.stack([*rising, total][::-1])
    nearest = (coordinates / axes + 0.5).floor()
    residual = coordinates - nearest * axes
    # places from the largest residual on, those that were rounded the most moved
    rank = residual.argsort(dim=0, descending=True, stable=True).argsort(dim=0)
    place = rank + nearest.sum(dim=0).long()
    turns = (place >= axes).long() - (place < 0).long()
    place = place - turns * axes
    ordered = torch.empty_like(residual).scatter(0, place, residual + turns * axes)
    step_of = torch.empty_like(place).scatter(0, place, steps[:, None].expand_as(place))
    origin = -((nearest.long() - turns) * steps[:, None]).sum(dim=0, keepdim=True)
    # one step along each axis, from the largest residual's on
    keys = origin + torch.cat([torch.zeros_like(origin), step_of[1:].flip(0)]).cumsum(0)
    falls = (ordered[:-1] - ordered[1:]).flip(0) / axes
    return keys, torch.cat([1 - falls.sum(dim=0, keepdim=True), falls])
