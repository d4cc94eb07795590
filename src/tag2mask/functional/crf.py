"""Dense conditional random field: labels that follow the colours of the image.

Krahenbuhl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials" (NIPS 2011), with the Potts model. Every pixel pulls every other pixel to
its own label, the more so the closer they lie (spatial kernel, the second term of
eq. 3) and the more alike their colours are as well (bilateral kernel, the first term).
Both kernels are normalised symmetrically: ``K`` becomes ``D^-1/2 K D^-1/2`` with the
row sums of ``K`` in ``D``; a pixel counts as a neighbour of itself.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from tag2mask.functional.shapes import IGNORE, MAX_CLASSES
from tag2mask.kernels import mean_field, permutohedral
from tag2mask.kernels.lanes import LANES

SMALLEST_SCORE = 1e-5
"""Where scores are clipped before the logarithm, as the field does."""
_BITS = float(np.log2(np.e))


class CrfPreset(NamedTuple):
    """Knobs of the dense CRF.

    The kernels are ``exp(-|dx|^2 / 2 spatial_sxy^2)`` and
    ``exp(-|dx|^2 / 2 bilateral_sxy^2 - |drgb|^2 / 2 bilateral_srgb^2)``.
    """

    spatial_sxy: float
    """Standard deviation of the spatial kernel in pixels; at least 0.1."""
    spatial_weight: float
    """Energy, in nats, of disagreeing with all spatial neighbours; not negative."""
    bilateral_sxy: float
    """Standard deviation of the bilateral kernel in pixels; at least 0.1."""
    bilateral_srgb: float
    """Standard deviation of the bilateral kernel in grey levels; at least 0.1."""
    bilateral_weight: float
    """Energy, in nats, of disagreeing with all bilateral neighbours; not negative."""
    iterations: int
    """Mean field steps; 0 gives the scores' own softmax."""

    def shrunk(self, factor: int) -> "CrfPreset":
        """Return the same knobs for an image ``factor`` times smaller."""
        near, far = self.spatial_sxy / factor, self.bilateral_sxy / factor
        return self._replace(spatial_sxy=near, bilateral_sxy=far)


SEEDS = CrfPreset(3.0, 3.0, 80.0, 13.0, 10.0, 10)
"""Seeds made of class activation maps (PSA, SEAM, EPS)."""
IRN_LABELS = CrfPreset(3.0, 3.0, 50.0, 5.0, 10.0, 10)
"""Hard labels to train IRNet on; scores from `scores_from_labels`."""
DEEPLAB = CrfPreset(1.0, 3.0, 67.0, 3.0, 4.0, 10)
"""Predictions of a segmenter; scores are its softmax."""
PRESETS: Mapping[str, CrfPreset] = MappingProxyType(
    {"seeds": SEEDS, "irnet": IRN_LABELS, "deeplab": DEEPLAB}
)


def dense_crf(
    scores: Float[Tensor, "k h w"],
    image: UInt8[Tensor, "h w 3"],
    *,
    preset: CrfPreset | str = "seeds",
    min_score: float = 0.0,
) -> Float[Tensor, "k h w"]:
    """Refine scores by mean field inference with filters on the permutohedral lattice.

    Starts from the softmax of minus the unary energy, as pydensecrf does, and repeats
    algorithm 1. The unary energy is ``-log(max(score, 1e-5))``. Scores need not sum to
    one: a factor common to all labels of a pixel cancels, unless it moves some below
    the clip. The lattice approximates the Gaussians: `dense_crf_exact` does not.

    Runs on one thread of the CPU and lets go of the interpreter's lock: for many
    images, call it from several threads.

    Args:
        scores: Probability-like scores, finite and not negative; at most 255 labels.
        image: The true RGB values, neither rescaled nor with the mean subtracted.
        preset: Knobs, or the name of an entry of ``PRESETS``.
        min_score: A label whose score is below it at every pixel takes no part and gets
            marginal 0, which saves its time; 0 keeps all labels.

    Returns:
        Marginals that sum to one at each pixel, float32, where ``scores`` lives.

    Raises:
        ValueError: If shapes, types, scores or knobs are not as above, or if
            ``min_score`` leaves no label.
    """
    knobs = _resolve(preset)
    _check(scores, image)
    all_scores = scores.detach().to("cpu", torch.float32)
    largest = all_scores.amax(dim=(1, 2))
    kept = largest >= min_score
    if not kept.any():
        raise ValueError(
            f"min_score must leave at least one label: expected at most the largest "
            f"score, {largest.max().item():.3g}, got {min_score}"
        )
    if kept.sum() == 1:
        return kept.float()[:, None, None].expand(scores.shape).clone()
    logs = (all_scores if kept.all() else all_scores[kept]).clamp(SMALLEST_SCORE)
    planes = logs.log2_().flatten(1).contiguous().numpy()
    lattices = _join_lattices(image.detach().cpu().numpy(), knobs)
    marginals = torch.from_numpy(_mean_field(planes, lattices))
    marginals = marginals.reshape(-1, *scores.shape[1:])
    if not kept.all():
        found = torch.zeros(scores.shape)
        found[kept] = marginals
        marginals = found
    return marginals.to(scores.device)


def dense_crf_exact(
    scores: Float[Tensor, "k h w"],
    image: UInt8[Tensor, "h w 3"],
    *,
    preset: CrfPreset | str = "seeds",
) -> Float[Tensor, "k h w"]:
    """Refine scores as `dense_crf` does, with the Gaussians summed over all pairs.

    For tests and small images: time and memory grow with the square of the number of
    pixels (two matrices of float64). Arguments, result and errors: see `dense_crf`.
    """
    knobs = _resolve(preset)
    _check(scores, image)
    places = torch.from_numpy(_features(image.cpu().numpy(), knobs.spatial_sxy)).T
    colours = torch.from_numpy(
        _features(image.cpu().numpy(), knobs.bilateral_sxy, knobs.bilateral_srgb)
    ).T
    kernel = knobs.spatial_weight * _normalised_gaussian(places)
    kernel += knobs.bilateral_weight * _normalised_gaussian(colours)
    evidence = scores.detach().to("cpu", torch.float64).flatten(1)
    evidence = evidence.clamp_min(SMALLEST_SCORE).log()  # k p
    marginals = evidence.softmax(dim=0)
    for _ in range(knobs.iterations):
        marginals = (evidence + marginals @ kernel).softmax(dim=0)
    return marginals.reshape(scores.shape).to(scores.device, torch.float32)


def scores_from_labels(
    labels: Integer[Tensor, "h w"],
    class_ids: Sequence[int],
    *,
    certainty: float = 0.7,
) -> Float[Tensor, "k h w"]:
    """Turn hard labels into scores for `dense_crf`.

    A pixel's own label gets ``certainty``, the others share the rest equally. A pixel
    of ``IGNORE`` (255) gets the same score for all labels. The default is what PSA and
    IRNet use.

    Args:
        labels: Class ids, or ``IGNORE``.
        class_ids: The class of each channel of the result, each once; 1 to 255 of them.
        certainty: Probability that a label is right; above 0 and at most 1.

    Raises:
        ValueError: If an argument is out of its range, or a label is not in
            ``class_ids``.
    """
    ids = torch.tensor(list(class_ids), dtype=torch.int64, device=labels.device)
    if not 1 <= len(ids) <= MAX_CLASSES or len(ids.unique()) < len(ids):
        raise ValueError(
            f"class_ids must be 1 to {MAX_CLASSES} different ids, got {ids.tolist()}"
        )
    if not 0 < certainty <= 1:
        raise ValueError(f"certainty must lie above 0 and at most 1, got {certainty}")
    is_own = labels == ids.view(-1, 1, 1)
    is_open = labels == IGNORE
    strange = labels[~(is_own.any(dim=0) | is_open)]
    if len(strange):
        raise ValueError(
            f"labels must be one of {ids.tolist()} or {IGNORE}, got {strange[0].item()}"
        )
    rest = (1 - certainty) / max(len(ids) - 1, 1)
    scores = torch.where(is_own, certainty, rest)
    return scores.masked_fill(is_open, 1 / len(ids)).float()


class _Lattices(NamedTuple):
    """Both kernels of one image, as `permutohedral` reads them."""

    vertices: permutohedral.Rows
    weights: permutohedral.Floats
    path: permutohedral.Rows
    num_rows: int
    iterations: int


def _join_lattices(image: np.ndarray, knobs: CrfPreset) -> _Lattices:
    """Build the lattices of the kernels that weigh anything, once for all steps."""
    kernels = [
        (knobs.spatial_weight, knobs.spatial_sxy, None),
        (knobs.bilateral_weight, knobs.bilateral_sxy, knobs.bilateral_srgb),
    ]
    kernels = [kernel for kernel in kernels if kernel[0] > 0]
    corners = sum(3 if srgb is None else 6 for _, _, srgb in kernels)
    num_pixels = image.shape[0] * image.shape[1]
    vertices = np.empty((num_pixels, corners), np.uint32)
    weights = np.empty((num_pixels, corners), np.float32)
    paths = [np.zeros(0, np.uint32)]
    num_rows, column = 1, 0
    for weight, sxy, srgb in kernels:
        features = _features(image, sxy, srgb)
        path, mass = permutohedral.build_lattice(
            features, num_rows, column, vertices, weights
        )
        columns = (column, column + len(features) + 1)
        before = np.zeros(num_rows, np.float32)
        permutohedral.normalise(
            path,
            np.concatenate([before, mass]),
            columns,
            vertices,
            weights,
            weight * _BITS,
        )
        num_rows += len(mass)
        paths.append(path)
        column = columns[1]
    return _Lattices(
        vertices, weights, np.concatenate(paths), num_rows, knobs.iterations
    )


def _mean_field(logs: np.ndarray, lattices: _Lattices) -> np.ndarray:
    """Iterate algorithm 1 on the logarithms of scores, labels x pixels."""
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
    marginals = logs  # what is evidence by now makes room
    mean_field.update(evidence, vertices, weights, sliced, no_rows, marginals)
    return marginals


def _features(
    image: np.ndarray, sxy: float, srgb: float | None = None
) -> permutohedral.Floats:
    """Place, and colour where ``srgb`` is given, in standard deviations."""
    height, width, _ = image.shape
    features = np.empty((2 if srgb is None else 5, height, width), np.float32)
    features[0] = np.arange(width, dtype=np.float32) / np.float32(sxy)
    features[1] = (np.arange(height, dtype=np.float32) / np.float32(sxy))[:, None]
    if srgb is not None:
        features[2:] = image.transpose(2, 0, 1) / np.float32(srgb)
    return features.reshape(len(features), height * width)


def _normalised_gaussian(features: Tensor) -> Tensor:
    """``D^-1/2 K D^-1/2`` for the Gaussian kernel K between all pairs of pixels."""
    exact = features.double()
    distance = torch.cdist(exact, exact, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = (-0.5 * distance.square()).exp()
    norm = kernel.sum(dim=1).rsqrt()
    return norm[:, None] * kernel * norm


def _resolve(preset: CrfPreset | str) -> CrfPreset:
    """Look a preset up by its name, and refuse knobs out of range."""
    if isinstance(preset, str):
        if preset not in PRESETS:
            names = ", ".join(PRESETS)
            raise ValueError(f"preset must be one of {names}, got {preset!r}")
        return PRESETS[preset]
    for name in ("spatial_sxy", "bilateral_sxy", "bilateral_srgb"):
        value = getattr(preset, name)
        if not 0.1 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and at least 0.1, got {value}")
    for name in ("spatial_weight", "bilateral_weight", "iterations"):
        value = getattr(preset, name)
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and not negative, got {value}")
    return preset


def _check(scores: Tensor, image: Tensor) -> None:
    """Refuse what the kernels would misread; they check nothing."""
    if scores.ndim != 3 or not scores.is_floating_point():
        raise ValueError(
            f"scores must be floats of shape (labels, height, width), "
            f"got {scores.dtype} of shape {tuple(scores.shape)}"
        )
    if not 1 <= len(scores) <= MAX_CLASSES or scores[0].numel() == 0:
        raise ValueError(
            f"scores must hold 1 to {MAX_CLASSES} labels and at least one pixel, "
            f"got shape {tuple(scores.shape)}"
        )
    expected = (*scores.shape[1:], 3)
    if image.dtype != torch.uint8 or image.shape != expected:
        raise ValueError(
            f"image must be true RGB, uint8 of shape {expected} as the scores', "
            f"got {image.dtype} of shape {tuple(image.shape)}"
        )
    lowest, highest = torch.aminmax(scores.detach())
    if not (lowest >= 0 and highest < torch.inf):
        raise ValueError(
            f"scores must be finite and not negative, got values from "
            f"{lowest.item():.3g} to {highest.item():.3g}"
        )
