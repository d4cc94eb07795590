"""Losses for labels of which some are known to be doubtful.

Clean pixels teach what they are (positive learning), noisy ones what they are not
(negative learning). All losses are computed in float32 at least, whatever the logits.
"""

from typing import Literal, NamedTuple, assert_never

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn.functional import cross_entropy

from tag2mask.functional.precision import at_least_float32
from tag2mask.functional.shapes import BACKGROUND, IGNORE

WeightFrom = Literal["constrained", "plain", "eq4"]

SMALLEST_NORM = 1e-3
"""Below this norm of the logits they are no longer stretched to length one: the
gradient of the constrained softmax would grow as one over the norm, without bound at a
head that starts at zero."""
LARGEST_LOG = -(2.0**-24)
"""Stands for the logarithm of a probability that float32 cannot tell from one."""


class PositiveNegativeLoss(NamedTuple):
    """The two terms of (multi-seed, eq. 10), and what to watch them by.

    ``positive`` and ``negative`` are already weighted by their share of the labelled
    pixels: their sum is the loss. ``unweighted_positive`` is the mean of
    ``-log p*_y`` over clean pixels (0 if there is none), without gradient: it falls
    where ``positive`` may rise with its own weight. ``clean_share`` is eq. 10's
    ``e``: clean among labelled pixels.
    """

    positive: Float[Tensor, ""]
    negative: Float[Tensor, ""]
    unweighted_positive: Float[Tensor, ""]
    clean_share: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The loss to minimise."""
        return self.positive + self.negative


class BackgroundShares(NamedTuple):
    """Share of background among the labelled pixels, as predicted and as labelled."""

    predicted: Float[Tensor, ""]
    labelled: Float[Tensor, ""]


def log_constrained(
    logits: Float[Tensor, "b k h w"], *, tau: float
) -> Float[Tensor, "b k h w"]:
    """Logarithm of ``p* = softmax(z / (tau |z|))`` (multi-seed, below eq. 5).

    Only the direction of the logits counts, so that no class can be predicted with
    more than ``1 / (1 + (k - 1) exp(-sqrt(k / (k - 1)) / tau))``: 0.1223 for 21
    classes at tau 1.

    Args:
        logits: Raw scores z; half precision is computed in float32.
        tau: Length one over which the logits are stretched to; 1 in the paper. The
            smaller, the sharper.

    Raises:
        ValueError: If ``tau`` is not above zero.
    """
    if tau <= 0:
        raise ValueError(f"tau must be above 0, got {tau}")
    scores = at_least_float32(logits)
    norm = torch.linalg.vector_norm(scores, dim=1, keepdim=True)
    stretched: Tensor = scores / (tau * norm.clamp_min(SMALLEST_NORM))
    return stretched.log_softmax(dim=1)


def positive_weight(
    p: Float[Tensor, "..."], *, num_factors: int = 4
) -> Float[Tensor, "..."]:
    """Pull harder at confident pixels: ``prod_x (1 + p^(2^x))`` (multi-seed, eq. 4).

    The product telescopes to ``(1 - p^16) / (1 - p)`` with four factors: from 1 at
    p = 0 to 16 at p = 1.

    Args:
        p: Probabilities.
        num_factors: Factors x = 0, 1, ...; none is a weight of 1.

    Raises:
        ValueError: If ``num_factors`` is negative.
    """
    if num_factors < 0:
        raise ValueError(f"num_factors must not be negative, got {num_factors}")
    weight = torch.ones_like(p)
    for _ in range(num_factors):
        weight = weight * (1 + p)
        p = p * p
    return weight


def log1m_exp(log_p: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Logarithm of ``1 - exp(log_p)`` without cancellation, gradient included.

    Args:
        log_p: Logarithms of probabilities, below zero; at zero the result is -inf.
    """
    half = -0.6931471805599453  # log 0.5, where the two forms are equally exact
    for_large = torch.log(-torch.expm1(log_p))
    # kept away from zero, where its gradient is infinite: `where` would turn that
    # into a nan even in the form that it discards
    for_small = torch.log1p(-log_p.clamp(max=half).exp())
    return torch.where(log_p > half, for_large, for_small)


def positive_negative_loss(
    logits: Float[Tensor, "b k h w"],
    labels: Integer[Tensor, "b h w"],
    is_clean: Bool[Tensor, "b h w"],
    complement: Integer[Tensor, "b n h w"],
    *,
    tau: float = 0.1,
    weight_from: WeightFrom = "constrained",
) -> PositiveNegativeLoss:
    """Learn what clean pixels are and what noisy ones are not (multi-seed, eq. 8-10).

    Clean: ``-w(p_y) log p*_y``; noisy: ``-(1 - p_c) log(1 - p*_c)``, the mean over n
    complements c. Eq. 10 blends the means over the two sets by their shares, which is
    the mean over all labelled pixels and is computed as such: either set may be empty,
    and without any labelled pixel the loss is 0 with a gradient of zeros. The weights
    ``w`` and ``1 - p_c`` carry no gradient.

    Args:
        logits: Raw scores of all classes, background first.
        labels: Class of each pixel; ``IGNORE`` counts nowhere.
        is_clean: Where the label is to be believed.
        complement: Classes that a noisy pixel is taught not to be, as those of
            ``draw_complement``; ``IGNORE`` teaches nothing, yet the pixel counts as
            labelled. Not read at clean pixels.
        tau: See ``log_constrained``; not read by ``eq4``.
        weight_from: ``constrained`` weighs by p*, the same distribution as under the
            logarithm; ``plain`` is eq. 8 and 9 to the letter, weights from softmax(z)
            and logarithms from p*; ``eq4`` takes softmax(z) for both.

    Raises:
        ValueError: If ``tau`` is not above zero.
    """
    log_p, log_weight = _log_probabilities(logits, tau, weight_from)
    labelled = labels != IGNORE
    clean, noisy = labelled & is_clean, (labelled & ~is_clean).unsqueeze(1)
    num_labelled = labelled.sum().clamp_min(1)

    label = labels.unsqueeze(1)
    surprise = -_at_class(log_p, label).squeeze(1)
    weight = positive_weight(_at_class(log_weight, label).squeeze(1).exp())
    positive = torch.where(clean, weight * surprise, 0)

    taught = noisy & (complement != IGNORE)
    surprise_not = -log1m_exp(_at_class(log_p, complement).clamp(max=LARGEST_LOG))
    weight_not = -torch.expm1(_at_class(log_weight, complement))
    negative = torch.where(taught, weight_not * surprise_not, 0)

    num_clean = clean.sum()
    watched = torch.where(clean, surprise.detach(), 0).sum()
    return PositiveNegativeLoss(
        positive=positive.sum() / num_labelled,
        negative=negative.sum() / (num_labelled * max(1, complement.shape[1])),
        unweighted_positive=watched / num_clean.clamp_min(1),
        clean_share=num_clean / num_labelled,
    )


def cross_entropy_loss(
    logits: Float[Tensor, "b k h w"], labels: Integer[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """Mean of ``-log p_y`` over labelled pixels (multi-seed, eq. 3).

    Without a labelled pixel it is 0 with a gradient of zeros, where torch's is nan.

    Args:
        logits: Raw scores of all classes; half precision is computed in float32.
        labels: Class of each pixel; ``IGNORE`` counts nowhere.
    """
    scores = at_least_float32(logits)
    summed = cross_entropy(scores, labels.long(), ignore_index=IGNORE, reduction="sum")
    return summed / (labels != IGNORE).sum().clamp_min(1)


def background_shares(
    logits: Float[Tensor, "b k h w"], labels: Integer[Tensor, "b h w"]
) -> BackgroundShares:
    """Compare how much background is predicted with how much is labelled.

    A prediction that leaves the labels' share by far is on its way to calling all
    background. Both are 0 without a labelled pixel.

    Args:
        logits: Raw scores of all classes, background first.
        labels: Class of each pixel; ``IGNORE`` counts nowhere.
    """
    labelled = labels != IGNORE
    num_labelled = labelled.sum().clamp_min(1)
    predicted = labelled & (logits.argmax(dim=1) == BACKGROUND)
    return BackgroundShares(
        predicted=predicted.sum() / num_labelled,
        labelled=(labels == BACKGROUND).sum() / num_labelled,
    )


def _log_probabilities(
    logits: Float[Tensor, "b k h w"], tau: float, weight_from: WeightFrom
) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k h w"]]:
    """What to take the loss's logarithm from, and what to weigh it by."""
    match weight_from:
        case "constrained":
            log_p = log_constrained(logits, tau=tau)
            return log_p, log_p.detach()
        case "plain":
            plain = at_least_float32(logits.detach()).log_softmax(dim=1)
            return log_constrained(logits, tau=tau), plain
        case "eq4":
            log_p = at_least_float32(logits).log_softmax(dim=1)
            return log_p, log_p.detach()
        case _:
            assert_never(weight_from)


def _at_class(
    maps: Float[Tensor, "b k h w"], classes: Integer[Tensor, "b n h w"]
) -> Float[Tensor, "b n h w"]:
    """Read each pixel's value for its class; where that is ``IGNORE``, any value."""
    return maps.gather(1, classes.long().masked_fill(classes == IGNORE, BACKGROUND))
