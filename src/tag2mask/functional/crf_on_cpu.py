"""Mean field inference with compiled kernels, on one thread."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from tag2mask.functional.crf_presets import SMALLEST_SCORE, CrfPreset, kernels_of
from tag2mask.kernels import mean_field, permutohedral
from tag2mask.kernels.lanes import LANES

_BITS = float(np.log2(np.e))


def infer_on_cpu(
    scores: Float[Tensor, "b k h w"],
    is_kept: Bool[Tensor, "b k"],
    images: UInt8[Tensor, "i h w 3"],
    preset: CrfPreset,
) -> Float[Tensor, "b k h w"]:
    """Return marginals; see `crf.dense_crf`, which checks what this does not.

    Args:
        scores: On the CPU.
        is_kept: Labels that take part; at least one of each item.
        images: One for all items, or one each; on the CPU.
        preset: Knobs in their ranges.
    """
    marginals = torch.zeros_like(scores, memory_format=torch.contiguous_format)
    lattices: list[_Lattices] = []
    for item, kept in enumerate(is_kept):
        if kept.sum() == 1:
            marginals[item, kept] = 1.0
            continue
        if len(images) > 1 or not lattices:
            lattices = [_join_lattices(images[item % len(images)], preset)]
        mine = scores[item] if kept.all() else scores[item, kept]
        logs = mine.clamp(SMALLEST_SCORE).log2_().flatten(1).contiguous()
        # a view of the result where nothing is left out: one copy less
        found = marginals[item] if kept.all() else torch.empty_like(mine)
        _mean_field(logs.numpy(), lattices[0], found.flatten(1).numpy())
        if not kept.all():
            marginals[item, kept] = found
    return marginals


class _Lattices(NamedTuple):
    """Both kernels of one image, as `permutohedral` reads them."""

    vertices: permutohedral.Rows
    weights: permutohedral.Floats
    path: permutohedral.Rows
    num_rows: int
    iterations: int


def _join_lattices(image: UInt8[Tensor, "h w 3"], preset: CrfPreset) -> _Lattices:
    """Build the lattices of the kernels that weigh anything, once for all steps."""
    features = [
        (kernel.weight, kernel.features(image).numpy()) for kernel in kernels_of(preset)
    ]
    num_pixels = image.shape[0] * image.shape[1]
    corners = sum(len(each) + 1 for _, each in features)
    vertices = np.empty((num_pixels, corners), np.uint32)
    weights = np.empty((num_pixels, corners), np.float32)
    paths = [np.zeros(0, np.uint32)]
    num_rows, column = 1, 0
    for strength, each in features:
        path, mass = permutohedral.build_lattice(
            each, num_rows, column, vertices, weights
        )
        columns = column, column + len(each) + 1
        others = np.zeros(num_rows, np.float32)
        permutohedral.normalise(
            path,
            np.concatenate([others, mass]),
            columns,
            vertices,
            weights,
            strength * _BITS,
        )
        num_rows += len(mass)
        paths.append(path)
        column = columns[1]
    return _Lattices(
        vertices, weights, np.concatenate(paths), num_rows, preset.iterations
    )


def _mean_field(
    logs: permutohedral.Floats, lattices: _Lattices, marginals: permutohedral.Floats
) -> None:
    """Iterate algorithm 1 on the logarithms of scores, labels x pixels.

    Writes the marginals, of the same shape.
    """
    num_labels, num_pixels = logs.shape
    length = -(-num_labels // LANES) * LANES
    evidence = np.empty((num_pixels, length), np.float32)
    mean_field.into_rows(logs, evidence)
    no_rows = np.empty((0, length), np.float32)
    no_labels = np.empty((0, num_pixels), np.float32)
    vertices, weights, path, num_rows, iterations = lattices
    sliced, spare = no_rows, np.empty((num_rows, length), np.float32)
    for _ in range(iterations):
        splat = spare
        splat.fill(0)
        mean_field.update(evidence, vertices, weights, sliced, splat, no_labels)
        permutohedral.blur(splat, path)
        spare = sliced if len(sliced) else np.empty_like(splat)
        sliced = splat
    mean_field.update(evidence, vertices, weights, sliced, no_rows, marginals)
