"""How a vote and what it calls clean agree with the truth."""

import numpy as np
from jaxtyping import Int64, UInt8

from tag2mask.functional.shapes import IGNORE


def count_marks(
    labels: UInt8[np.ndarray, "h w"],
    support: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "h w"],
    *,
    num_voters: int,
) -> Int64[np.ndarray, "num_voters 4"]:
    """Split scored pixels by what they are called and whether they are right.

    Multi-seed, tables 10 and 11, whose cases (a) and (c) are as they should be. The
    counts of several images add up. An unlabelled pixel is wrong and, having no
    support, noisy.

    Args:
        labels: The vote; 255 is unlabelled.
        support: How many voters gave it.
        truth: True class ids; 255 is not scored.
        num_voters: The greatest threshold t.

    Returns:
        For each t from 1 the pixels that are (a) clean and right, (b) noisy and right,
        (c) noisy and wrong, (d) clean and wrong: each row sums to the scored pixels.

    Raises:
        ValueError: If a pixel has more support than there are voters.
    """
    highest = int(support.max(initial=0))
    if highest > num_voters:
        raise ValueError(f"support of {highest} by {num_voters} voters")
    is_scored, is_right = truth != IGNORE, labels == truth
    right, wrong = (
        np.bincount(support[is_scored & chosen], minlength=num_voters + 1)
        for chosen in (is_right, ~is_right)
    )
    # of those with t votes or more
    clean_right, clean_wrong = (
        counts[::-1].cumsum()[::-1][1:] for counts in (right, wrong)
    )
    noisy_right, noisy_wrong = right.sum() - clean_right, wrong.sum() - clean_wrong
    columns = (clean_right, noisy_right, noisy_wrong, clean_wrong)
    return np.stack(columns, axis=1).astype(np.int64)
