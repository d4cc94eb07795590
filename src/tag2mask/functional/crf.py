"""Dense conditional random field: labels that follow the colours of the image.

Krahenbuhl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials" (NIPS 2011), with the Potts model. Every pixel pulls every other pixel to
its own label, the more so the closer they lie (spatial kernel, the second term of
eq. 3) and the more alike their colours are as well (bilateral kernel, the first term).
Both kernels are normalised symmetrically: ``K`` becomes ``D^-1/2 K D^-1/2`` with the
row sums of ``K`` in ``D``; a pixel counts as a neighbour of itself.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from tag2mask.functional.crf_on_cpu import infer_on_cpu
from tag2mask.functional.crf_on_device import infer_on_device
from tag2mask.functional.crf_presets import (
    DEEPLAB,
    IRN_LABELS,
    PRESETS,
    SEEDS,
    SMALLEST_SCORE,
    CrfPreset,
    Kernel,
    find_preset,
)
from tag2mask.functional.shapes import IGNORE, MAX_CLASSES
from tag2mask.functional.turns import at_device

__all__ = [
    "DEEPLAB",
    "IRN_LABELS",
    "PRESETS",
    "SEEDS",
    "CrfPreset",
    "dense_crf",
    "dense_crf_exact",
    "scores_from_labels",
]


def dense_crf(
    scores: Float[Tensor, "*batch k h w"],
    image: UInt8[Tensor, "*images h w 3"],
    *,
    preset: CrfPreset | str = "seeds",
    min_score: float = 0.0,
) -> Float[Tensor, "*batch k h w"]:
    """Refine scores by mean field inference with filters on the permutohedral lattice.

    Starts from the softmax of minus the unary energy, as pydensecrf does, and repeats
    algorithm 1. The unary energy is ``-log(max(score, 1e-5))``. Scores need not sum to
    one: a factor common to all labels of a pixel cancels, unless it moves some below
    the clip. The lattice approximates the Gaussians: `dense_crf_exact` does not.

    Runs where ``scores`` lives: on CUDA by torch, the whole batch at once; anywhere
    else by compiled code on one thread of the CPU, which lets go of the interpreter's
    lock: for many images, call it from several threads. An item's marginals do not
    depend on the rest of its batch.

    Args:
        scores: Probability-like scores, finite and not negative; at most 255 labels.
            May have one dimension of items in front.
        image: The true RGB values, neither rescaled nor with the mean subtracted. With
            a dimension in front, one image for each item; without it, one for all,
            whose lattices are built once.
        preset: Knobs, or the name of an entry of ``PRESETS``.
        min_score: A label whose score is below it at every pixel takes no part and gets
            marginal 0, which saves its time; 0 keeps all labels.

    Returns:
        Marginals that sum to one at each pixel, float32, where ``scores`` lives.

    Raises:
        ValueError: If shapes, types, scores or knobs are not as above, or if
            ``min_score`` leaves no label.
    """
    knobs = find_preset(preset)
    _check(scores, image)
    items = scores.detach().float().reshape(-1, *scores.shape[-3:])
    images = image.detach().reshape(-1, *image.shape[-3:])
    largest = items.amax(dim=(2, 3))
    is_kept = largest >= min_score
    if not is_kept.any(dim=1).all():
        most = largest.amax(dim=1).min().item()
        raise ValueError(
            f"min_score must leave at least one label: expected at most the largest "
            f"score, {most:.3g}, got {min_score}"
        )
    if items.device.type == "cuda":
        with at_device:
            marginals = infer_on_device(items, is_kept, images.to(items.device), knobs)
    else:
        marginals = infer_on_cpu(items.cpu(), is_kept.cpu(), images.cpu(), knobs)
    return marginals.reshape(scores.shape).to(scores.device)


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
    knobs = find_preset(preset)
    _check(scores, image)
    pixels = image.cpu()
    near = Kernel(1.0, knobs.spatial_sxy, None).features(pixels)
    alike = Kernel(1.0, knobs.bilateral_sxy, knobs.bilateral_srgb).features(pixels)
    kernel = knobs.spatial_weight * _normalised_gaussian(near)
    kernel += knobs.bilateral_weight * _normalised_gaussian(alike)
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


def _normalised_gaussian(features: Tensor) -> Tensor:
    """``D^-1/2 K D^-1/2`` for the Gaussian kernel K between all pairs of pixels."""
    exact = features.T.double()
    distance = torch.cdist(exact, exact, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = (-0.5 * distance.square()).exp()
    norm = kernel.sum(dim=1).rsqrt()
    return norm[:, None] * kernel * norm


def _check(scores: Tensor, image: Tensor) -> None:
    """Refuse what the kernels would misread; they check nothing."""
    if scores.ndim not in (3, 4) or not scores.is_floating_point():
        raise ValueError(
            f"scores must be floats of shape (labels, height, width), with items in "
            f"front or not, got {scores.dtype} of shape {tuple(scores.shape)}"
        )
    if not 1 <= scores.shape[-3] <= MAX_CLASSES or scores[..., 0, :, :].numel() == 0:
        raise ValueError(
            f"scores must hold 1 to {MAX_CLASSES} labels and at least one pixel, "
            f"got shape {tuple(scores.shape)}"
        )
    expected = (*scores.shape[-2:], 3)
    if image.dtype != torch.uint8 or image.shape[-3:] != expected:
        raise ValueError(
            f"image must be true RGB, uint8 of shape {expected} as the scores', "
            f"got {image.dtype} of shape {tuple(image.shape)}"
        )
    if image.shape[:-3] not in ((), scores.shape[:-3]):
        raise ValueError(
            f"image must be one for all items or one each: expected shape {expected} "
            f"or {(*scores.shape[:-3], *expected)}, got {tuple(image.shape)}"
        )
    lowest, highest = torch.aminmax(scores.detach())
    if not (lowest >= 0 and highest < torch.inf):
        raise ValueError(
            f"scores must be finite and not negative, got values from "
            f"{lowest.item():.3g} to {highest.item():.3g}"
        )
