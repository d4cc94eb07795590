import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.functional.statistics import count_marks

LABELS = [[0, 0, 1, 1], [0, 0, 1, 2], [0, 2, 2, 2], [0, 0, 255, 2]]
SUPPORT = [[3, 3, 3, 2], [3, 2, 1, 2], [3, 1, 3, 3], [2, 3, 0, 1]]
TRUTH = [[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 2, 2], [255, 1, 1, 2]]


def maps():
    return [np.array(each, np.uint8) for each in (LABELS, SUPPORT, TRUTH)]


def test_marks_of_four_by_four_pixels_by_hand():
    # the pixel of truth 255 is not scored: 15 are. Right and wrong with their support:
    # right 3 3 3 2 / 3 1 / 3 3 3 / 1: seven of 3, one of 2, two of 1
    # wrong 2 2 / 1 / 3 0: one of 3, two of 2, one of 1, and the unlabelled one of 0
    found = count_marks(*maps(), num_voters=3)
    assert found.tolist() == [
        # clean and right, noisy and right, noisy and wrong, clean and wrong
        [10, 0, 1, 4],
        [8, 2, 2, 3],
        [7, 3, 4, 1],
    ]


def test_more_support_than_voters_is_refused():
    with pytest.raises(ValueError, match="support of 3 by 2 voters"):
        count_marks(*maps(), num_voters=2)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 5))
def test_marks_sum_to_the_scored_pixels_and_clean_ones_grow_fewer(seed, num_voters):
    rng = np.random.default_rng(seed)
    labels, support, truth = (
        rng.choice(values, (4, 4)).astype(np.uint8)
        for values in ([0, 1, 2, 255], range(4), [0, 1, 2, 255])
    )
    support[labels == 255] = 0
    found = count_marks(labels, support, truth, num_voters=num_voters)
    assert (found.sum(axis=1) == (truth != 255).sum()).all()
    assert (np.diff(found[:, [0, 3]], axis=0) <= 0).all()
    assert (
        found[:, 0] + found[:, 1] == ((labels == truth) & (truth != 255)).sum()
    ).all()
