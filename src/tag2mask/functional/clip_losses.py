"""Losses of activation maps that a frozen image-text model teaches.

Axes as in ``image_text_pairs``. Without a pair every loss of pairs is 0 with a gradient
of zeros. All is computed in float32 at least, under autocast too: half precision takes
0.9999 for 1, where ``log(1 - s)`` is infinite.
"""

from typing import Literal, NamedTuple, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from tag2mask.functional.precision import at_least_float32

Reduction = Literal["mean", "sum"]

MARGIN = 0.5
"""By how much a foreground should be closer to its class than the background is."""
LARGEST_COSINE = 0.9999
"""From here on ``-log(1 - s)`` stays at 9.21: at 1 it is infinite."""
SMALLEST_COSINE = 0.01
"""Below it ``-log s`` goes on as its tangent. It exists for no cosine up to 0, where
models other than CLIP have some foregrounds; a clamp would let go of just these."""


class PairCosines(NamedTuple):
    """How close each pair's two images are to texts.

    Attributes:
        foreground: Of the foreground to the class (CA-CL, eq. 7, ``s_ff``).
        background: Of the background to the class (``s_bf``).
        foreground_to_backgrounds: Of the foreground to the class's background prompts
            (eq. 9).
    """

    foreground: Float[Tensor, "p"]
    background: Float[Tensor, "p"]
    foreground_to_backgrounds: Float[Tensor, "p l"]


class Contrast(NamedTuple):
    """The hinge of (CA-CL, eq. 6) and the share of pairs at which it is active."""

    loss: Float[Tensor, ""]
    active: Float[Tensor, ""]


class CaClWeights(NamedTuple):
    """Weights of (CA-CL, eq. 14): alpha, beta and gamma."""

    contrast: float = 40.0
    background: float = 1.0
    size: float = 0.4


class ClimsWeights(NamedTuple):
    """Weights of CLIMS on PASCAL VOC."""

    foreground: float = 10.0
    background: float = 24.0
    suppression: float = 1.0
    size: float = 0.2


CA_CL_WEIGHTS = CaClWeights()
CLIMS_WEIGHTS = ClimsWeights()


class CaClLosses(NamedTuple):
    """The weighted terms of (CA-CL, eq. 14), and what to watch.

    Their sum is to be minimised; ``active`` is that of ``Contrast``.
    """

    contrast: Float[Tensor, ""]
    background: Float[Tensor, ""]
    size: Float[Tensor, ""]
    active: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The loss to minimise."""
        return self.contrast + self.background + self.size


class ClimsLosses(NamedTuple):
    """The weighted terms of CLIMS; their sum is to be minimised."""

    foreground: Float[Tensor, ""]
    background: Float[Tensor, ""]
    suppression: Float[Tensor, ""]
    size: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The loss to minimise."""
        return self.foreground + self.background + self.suppression + self.size


def contrast_loss(
    foreground: Float[Tensor, "p"],
    background: Float[Tensor, "p"],
    *,
    margin: float = MARGIN,
) -> Contrast:
    """Mean over pairs of ``max(0, margin - s_ff + s_bf)`` (CA-CL, eq. 6).

    Args:
        foreground: Cosine ``s_ff`` of the foreground to the class's text.
        background: Cosine ``s_bf`` of the background to the same text.
        margin: By how much the first should be above the second. Cosines of CLIP
            differ by less than 0.2, so that at 0.5 all pairs are active.
    """
    gap = margin - at_least_float32(foreground) + at_least_float32(background)
    num_pairs = max(1, len(gap))
    return Contrast(gap.clamp_min(0).sum() / num_pairs, (gap > 0).sum() / num_pairs)


def background_suppression(
    similarities: Float[Tensor, "p l"],
    gate: Float[Tensor, "p l"],
    *,
    num_images: int,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """``-sum t log(1 - s)`` over prompts and pairs (CA-CL, eq. 12).

    Args:
        similarities: Cosine s of the foreground to each background prompt; at most
            ``LARGEST_COSINE`` counts.
        gate: t, 1 for prompts to push the foreground away from, else 0; the gradient
            goes through it as it stands.
        num_images: Images of the batch, those without a pair included.
        reduction: ``mean`` over images, or ``sum`` as in CLIMS.

    Raises:
        ValueError: If there are fewer than one image.
    """
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}")
    summed = (gate * _repulsion(similarities)).sum()
    match reduction:
        case "mean":
            return summed / num_images
        case "sum":
            return summed
        case _:
            assert_never(reduction)


def size_prior(probabilities: Float[Tensor, "b t h w"]) -> Float[Tensor, ""]:
    """Mean of the maps of all classes, those not shown included (CA-CL, eq. 13)."""
    return at_least_float32(probabilities).mean()


def ca_cl_losses(
    pairs: PairCosines,
    gate: Float[Tensor, "p l"],
    probabilities: Float[Tensor, "b t h w"],
    *,
    weights: CaClWeights = CA_CL_WEIGHTS,
    margin: float = MARGIN,
    reduction: Reduction = "mean",
) -> CaClLosses:
    """Weigh the three terms of (CA-CL, eq. 14).

    Args:
        pairs: Cosines; the text of the class is in the pair's chosen context.
        gate: See ``background_suppression``.
        probabilities: Maps of the whole batch.
        weights: alpha, beta and gamma.
        margin: See ``contrast_loss``.
        reduction: See ``background_suppression``.
    """
    contrast = contrast_loss(pairs.foreground, pairs.background, margin=margin)
    background = background_suppression(
        pairs.foreground_to_backgrounds,
        gate,
        num_images=len(probabilities),
        reduction=reduction,
    )
    return CaClLosses(
        contrast=weights.contrast * contrast.loss,
        background=weights.background * background,
        size=weights.size * size_prior(probabilities),
        active=contrast.active,
    )


def clims_losses(
    pairs: PairCosines,
    gate: Float[Tensor, "p l"],
    probabilities: Float[Tensor, "b t h w"],
    *,
    weights: ClimsWeights = CLIMS_WEIGHTS,
    reduction: Reduction = "sum",
) -> ClimsLosses:
    """Weigh the four terms of CLIMS (Xie et al., CVPR 2022), CA-CL's ancestor.

    ``foreground`` is the mean over pairs of ``-log s_ff``, ``background`` that of
    ``-log(1 - s_bf)``. Where a cosine of either is out of the logarithm's reach:

    - ``s_ff`` below ``SMALLEST_COSINE``: the tangent there, whose slope of 100 pulls
      such a foreground, yet does not drown all others;
    - ``s_bf`` below 0: 0 without gradient, since a background that has nothing to do
      with the class need not be made its opposite;
    - either near 1: see ``LARGEST_COSINE``.

    Args:
        pairs: Cosines; CLIMS has one context.
        gate: See ``background_suppression``; CLIMS has a fixed threshold.
        probabilities: Maps of the whole batch.
        weights: Of the four terms.
        reduction: Of ``suppression``, see ``background_suppression``.
    """
    num_pairs = max(1, len(pairs.foreground))
    attraction = _attraction(pairs.foreground).sum() / num_pairs
    unrelated = at_least_float32(pairs.background).clamp_min(0)
    repulsion = _repulsion(unrelated).sum() / num_pairs
    suppression = background_suppression(
        pairs.foreground_to_backgrounds,
        gate,
        num_images=len(probabilities),
        reduction=reduction,
    )
    return ClimsLosses(
        foreground=weights.foreground * attraction,
        background=weights.background * repulsion,
        suppression=weights.suppression * suppression,
        size=weights.size * size_prior(probabilities),
    )


def _repulsion(similarities: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    s = at_least_float32(similarities)
    return -torch.log1p(-s.clamp(max=LARGEST_COSINE))


def _attraction(similarities: Float[Tensor, "p"]) -> Float[Tensor, "p"]:
    s = at_least_float32(similarities)
    above = s.clamp_min(SMALLEST_COSINE)
    return (above - s) / SMALLEST_COSINE - above.log()
