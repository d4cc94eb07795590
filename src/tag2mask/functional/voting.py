"""Agreement of several noisy labellings of one image."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tag2mask.functional.shapes import IGNORE

MAX_VOTERS = 255
"""Voters that an 8-bit count can hold."""
_WEIGHT_STEPS = 1_000_000
"""Weights are whole numbers of its parts, so that sums of them have no rounding."""


class Vote(NamedTuple):
    """Outcome of a pixel-wise vote: the winner, and how many voters chose it."""

    labels: UInt8[Tensor, "h w"]
    support: UInt8[Tensor, "h w"]


class ClassScores(NamedTuple):
    """How probable some classes are at each pixel.

    Attributes:
        maps: One for each of the classes, not negative.
        class_ids: Which classes these are.
    """

    maps: Float[Tensor, "k h w"]
    class_ids: tuple[int, ...]


def vote(
    ballots: UInt8[Tensor, "v h w"],
    *,
    weights: Sequence[float] | None = None,
    scores: ClassScores | None = None,
) -> Vote:
    """Give each pixel the label most voters chose (multi-seed, section 2.3, step 1).

    A ballot of ``IGNORE`` abstains. A tie goes to the class with the highest of
    ``scores``, and without them, or where these are equal too, to the lowest class id,
    hence to background before any object. A pixel on which all abstain is ``IGNORE``
    with support 0. The cost grows with the square of the number of voters and not at
    all with the number of classes.

    With weights [ours] the label is that of the greatest weight, and the support is
    its share of the weight of those who do not abstain, times their number, rounded
    down: no whole threshold can tell the difference. Equal weights count heads.

    Args:
        ballots: One label map per voter; any class id, or ``IGNORE``.
        weights: One for each voter, to six decimals; a voter of weight 0 is absent.
        scores: Decide ties; a class that they lack comes last.

    Raises:
        ValueError: If there is no voter, or more than an 8-bit count can hold; if the
            weights are not one for each, are negative or all 0.
    """
    ballots, whole = _present(ballots, weights)
    counts = _count_equals(ballots, whole)
    most = counts.amax(dim=0)
    is_outvoted = counts != most
    if scores is not None:
        found = _scores_of(ballots, scores).masked_fill(is_outvoted, -math.inf)
        is_outvoted |= found != found.amax(dim=0)
    # arithmetic on bytes: `where` and `masked_fill` are sixty times slower on them
    outvoted = is_outvoted.view(torch.uint8) * IGNORE
    labels = (ballots | outvoted).amin(dim=0)
    return Vote(labels, _as_heads(most, ballots, whole))


def count_support(
    labels: UInt8[Tensor, "h w"],
    ballots: UInt8[Tensor, "v h w"],
    *,
    weights: Sequence[float] | None = None,
) -> UInt8[Tensor, "h w"]:
    """Count the voters that chose given labels, as ``vote`` counts its winner's.

    Args:
        labels: Of whatever source; an unlabelled pixel has support 0.
        ballots: One label map per voter.
        weights: As of ``vote``.

    Raises:
        ValueError: As of ``vote``.
    """
    ballots, whole = _present(ballots, weights)
    agreeing = torch.zeros_like(labels, dtype=torch.int64)
    for ballot, weight in zip(ballots, whole, strict=True):
        agreeing += weight * ((ballot == labels) & (labels != IGNORE))
    return _as_heads(agreeing, ballots, whole)


def mix_scores(
    scores: Sequence[Float[Tensor, "k h w"]],
    *,
    weights: Sequence[float] | None = None,
) -> Float[Tensor, "k h w"]:
    """Average what several voters find probable [ours].

    Each voter's scores are divided by their sum at each pixel first, so that none is
    louder for its scale; a pixel whose scores are all 0 says nothing.

    Args:
        scores: Of the same classes, background included; not negative.
        weights: One for each voter; none: all count alike.

    Raises:
        ValueError: If there is no voter, or weights are not as in ``vote``.
    """
    whole = _whole(len(scores), weights)
    tiny = torch.finfo(torch.float32).tiny
    parts = [
        weight * each.float() / each.float().sum(dim=0, keepdim=True).clamp_min(tiny)
        for each, weight in zip(scores, whole, strict=True)
        if weight
    ]
    return torch.stack(parts).sum(dim=0) / sum(whole)


def is_clean(
    support: UInt8[Tensor, "*b h w"], *, min_support: int
) -> Bool[Tensor, "*b h w"]:
    """Say where enough voters agree: ``n >= t`` (multi-seed, section 2.3, step 2).

    Args:
        support: Votes of the winning label.
        min_support: Votes that make a pixel clean. Above the number of voters no
            pixel is clean.

    Raises:
        ValueError: If ``min_support`` is below 1, which even abstentions would
            reach, or beyond what an 8-bit count can hold.
    """
    if not 1 <= min_support <= MAX_VOTERS:
        raise ValueError(
            f"min_support must lie between 1 and {MAX_VOTERS}, got {min_support}"
        )
    return support >= min_support


def _whole(num_voters: int, weights: Sequence[float] | None) -> list[int]:
    """Return the weights as whole numbers without a common factor."""
    if not 1 <= num_voters <= MAX_VOTERS:
        raise ValueError(
            f"a vote needs between 1 and {MAX_VOTERS} voters, got {num_voters}"
        )
    if weights is None:
        return [1] * num_voters
    if len(weights) != num_voters:
        raise ValueError(
            f"expected one weight for each of {num_voters} voters, got {len(weights)}"
        )
    if min(weights) < 0 or not all(math.isfinite(weight) for weight in weights):
        raise ValueError(f"weights must not be negative, got {list(weights)}")
    whole = [round(weight * _WEIGHT_STEPS) for weight in weights]
    if not any(whole):
        raise ValueError("a vote needs a voter whose weight is above 0, got none")
    factor = math.gcd(*whole)
    return [each // factor for each in whole]


def _present(
    ballots: UInt8[Tensor, "v h w"], weights: Sequence[float] | None
) -> tuple[UInt8[Tensor, "u h w"], list[int]]:
    """Leave out the voters without weight."""
    whole = _whole(len(ballots), weights)
    kept = [number for number, weight in enumerate(whole) if weight]
    if len(kept) < len(whole):
        ballots = ballots[kept]
    return ballots, [whole[number] for number in kept]


def _count_equals(
    ballots: UInt8[Tensor, "v h w"], whole: Sequence[int]
) -> UInt8[Tensor, "v h w"] | Int64[Tensor, "v h w"]:
    """Weigh for each ballot those, itself included, that equal it; abstentions as 0."""
    has_heads = set(whole) == {1}
    counts = ballots.new_zeros(
        ballots.shape, dtype=torch.uint8 if has_heads else torch.int64
    )
    for ballot, weight in zip(ballots, whole, strict=True):
        equal = (ballots == ballot).view(torch.uint8)
        counts += equal if has_heads else equal.long() * weight
    return counts * (ballots != IGNORE).view(torch.uint8)


def _as_heads(
    agreeing: UInt8[Tensor, "h w"] | Int64[Tensor, "h w"],
    ballots: UInt8[Tensor, "v h w"],
    whole: Sequence[int],
) -> UInt8[Tensor, "h w"]:
    """Turn a sum of weights into a number of voters."""
    if set(whole) == {1}:
        return agreeing.to(torch.uint8)
    speaks = ballots != IGNORE
    total = torch.zeros_like(agreeing)
    for weight, each in zip(whole, speaks, strict=True):
        total += weight * each
    heads = agreeing * speaks.sum(dim=0) // total.clamp_min(1)
    return heads.to(torch.uint8)


def _scores_of(
    ballots: UInt8[Tensor, "v h w"], scores: ClassScores
) -> Float[Tensor, "v h w"]:
    """Look up the score of the class that each ballot names."""
    lowest = scores.maps.new_full((1, *scores.maps.shape[1:]), -1.0)
    maps = torch.cat([scores.maps, lowest])
    channels = torch.full((IGNORE + 1,), len(scores.class_ids), device=maps.device)
    for channel, class_id in enumerate(scores.class_ids):
        channels[class_id] = channel
    return maps.gather(0, channels[ballots.long()])
