"""Agreement of several noisy labellings of one image."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from tag2mask.functional.shapes import IGNORE

MAX_VOTERS = 255
"""Voters that an 8-bit count can hold."""


class Vote(NamedTuple):
    """Outcome of a pixel-wise vote: the winner, and how many voters chose it."""

    labels: UInt8[Tensor, "h w"]
    support: UInt8[Tensor, "h w"]


def vote(ballots: UInt8[Tensor, "v h w"]) -> Vote:
    """Give each pixel the label most voters chose (multi-seed, section 2.3, step 1).

    A ballot of ``IGNORE`` abstains. A tie goes to the lowest class id, hence to
    background before any object. A pixel on which all abstain is ``IGNORE`` with
    support 0. The cost grows with the square of the number of voters and not at all
    with the number of classes.

    Args:
        ballots: One label map per voter; any class id, or ``IGNORE``.

    Raises:
        ValueError: If there is no voter, or more than an 8-bit count can hold.
    """
    if not 1 <= len(ballots) <= MAX_VOTERS:
        raise ValueError(
            f"a vote needs between 1 and {MAX_VOTERS} voters, got {len(ballots)}"
        )
    counts = _count_equals(ballots)
    support = counts.amax(dim=0)
    # arithmetic on bytes: `where` and `masked_fill` are sixty times slower on them
    outvoted = (counts != support).view(torch.uint8) * IGNORE
    return Vote((ballots | outvoted).amin(dim=0), support)


def count_votes(
    ballots: UInt8[Tensor, "v h w"], labels: UInt8[Tensor, "h w"]
) -> UInt8[Tensor, "h w"]:
    """Count for each pixel the voters that gave it the label it has.

    ``IGNORE`` has no votes.

    Args:
        ballots: One label map per voter, 255 at most.
        labels: Those of a vote, or what became of them.
    """
    votes = (ballots == labels).sum(dim=0, dtype=torch.uint8)
    return votes * (labels != IGNORE)


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


def _count_equals(ballots: UInt8[Tensor, "v h w"]) -> UInt8[Tensor, "v h w"]:
    """Count for each ballot how many, itself included, equal it; abstentions as 0."""
    counts = torch.zeros_like(ballots)
    for ballot in ballots:
        counts += (ballots == ballot).view(torch.uint8)
    return counts * (ballots != IGNORE).view(torch.uint8)
