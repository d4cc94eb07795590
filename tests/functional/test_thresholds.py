import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.metrics import confusion_matrix, scores_of
from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.thresholds import ThresholdCurve, otsu_threshold

NUM_CLASSES = 3
# the first call may compile, which no deadline allows for
law = settings(deadline=None, max_examples=40)


def edge_scores(num_bins):
    """Scores on and just beside the grid, where one bin too many would show."""
    on_grid = (np.arange(num_bins + 1) / num_bins).astype(np.float32)
    return np.concatenate(
        [on_grid, *(np.nextafter(on_grid, np.float32(end)) for end in (0, 1))]
    )


@st.composite
def images(draw, num_bins):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    score = st.sampled_from(edge_scores(num_bins).tolist())
    best_score = draw(arrays(np.float32, shape, elements=score))
    best_class = draw(arrays(np.uint8, shape, elements=st.integers(0, 2)))
    truth = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, IGNORE])))
    return best_score, best_class, truth


def labels_at(threshold, best_score, best_class):
    return np.where(best_score.astype(np.float64) > threshold, best_class, np.uint8(0))


def curve_of(*parts, num_bins=256):
    curve = ThresholdCurve(NUM_CLASSES, num_bins)
    for image in parts:
        curve.add(*image)
    return curve


def one_row(scores, classes, truth):
    return (
        np.array([scores], np.float32),
        np.array([classes], np.uint8),
        np.array([truth], np.uint8),
    )


@pytest.mark.parametrize("num_bins", [1, 7, 16])
@law
@given(st.data())
def test_curve_equals_labelling_at_each_threshold(num_bins, data):
    parts = data.draw(st.lists(images(num_bins), min_size=1, max_size=2))
    curve = curve_of(*parts, num_bins=num_bins)
    miou = curve.miou()
    assert len(miou) == num_bins + 1
    for i in range(num_bins + 1):
        expected = sum(
            confusion_matrix(
                labels_at(i / num_bins, score, best), truth, num_classes=NUM_CLASSES
            )
            for score, best, truth in parts
        )
        assert (curve.confusion(i) == expected).all()
        assert miou[i] == pytest.approx(scores_of(expected).miou, nan_ok=True)


@pytest.mark.parametrize("num_bins", [3, 10, 49, 100, 200, 256])
def test_comparison_is_exact_beside_every_threshold(num_bins):
    scores = edge_scores(num_bins)
    ones = np.ones(len(scores), np.uint8)
    curve = curve_of((scores[None], ones[None], ones[None]), num_bins=num_bins)
    found = [curve.confusion(i)[1, 1] for i in range(num_bins + 1)]
    exact = scores.astype(np.float64)
    assert found == [(exact > i / num_bins).sum() for i in range(num_bins + 1)]


def test_a_score_on_the_threshold_is_background():
    image = one_row([0.5, 0.5], [1, 1], [0, 1])
    curve = curve_of(image, num_bins=4)
    # at 0.25 both are object: ious 0 and 1/2; at 0.5 and above both background
    np.testing.assert_allclose(curve.miou(), [1 / 4] * 5)
    assert curve.confusion(1)[:, 1].tolist() == [1, 1, 0]
    assert curve.confusion(2)[:, 0].tolist() == [1, 1, 0]


def test_the_ends_of_the_grid():
    curve = curve_of(one_row([0.0, 1e-30, 1.0], [1, 1, 1], [0, 1, 1]), num_bins=8)
    assert curve.miou()[0] == 1  # only a score of 0 is background at 0
    # nothing lies above 1: all background, ious 1/3 and 0
    assert curve.miou()[8] == pytest.approx(1 / 6)


def test_best_by_hand():
    image = one_row([0.1, 0.2, 0.6, 0.9], [1, 1, 1, 2], [0, 0, 1, 2])
    curve = curve_of(image, num_bins=10)
    # perfect from 0.2, where 0.2 itself turns background, up to 0.5. 0.2 as float32
    # lies a hair above 0.2, so the first such threshold is 0.3
    assert curve.best() == (0.3, 1.0)
    assert curve_of(image, num_bins=16).best() == (0.25, 1.0)


def test_fixed_threshold_is_the_nearest_of_the_grid():
    image = one_row([0.149, 0.6], [1, 1], [0, 1])
    fine = curve_of(image, num_bins=200).at(0.15)
    assert fine == (0.15, 1.0)
    # 0.15 * 256 = 38.4, so 38 / 256 = 0.1484, which 0.149 still exceeds: ious 0, 1/2
    assert curve_of(image).at(0.15) == (38 / 256, 0.25)
    assert curve_of(image).at(0.16).threshold == 41 / 256  # 0.16 * 256 = 40.96
    # halfway between 0 and 1 of one step, the even index
    assert curve_of(image, num_bins=1).at(0.5).threshold == 0


def test_class_0_stays_background_at_any_score():
    curve = curve_of(one_row([1.0, 0.3], [0, 0], [0, 0]), num_bins=4)
    assert (curve.miou() == 1).all()


def test_ignored_pixels_are_not_scored():
    image = one_row([0.9, 0.9], [1, 2], [1, IGNORE])
    assert curve_of(image).at(0.5).miou == 1


def test_an_unknown_class_or_score_is_refused_and_nothing_counted():
    curve = ThresholdCurve(NUM_CLASSES)
    good = one_row([0.5, 0.5], [1, 2], [1, 2])
    curve.add(*good)
    before = curve.confusion(0)
    bad = [
        (
            one_row([0.5, 0.5], [1, 3], [1, 2]),
            "best_class holds the id 3, but the high",
        ),
        (one_row([0.5, 0.5], [1, 2], [1, 7]), "truth: the id 7 is no class"),
        (
            one_row([0.5, 1.5], [1, 2], [1, 2]),
            r"scores must lie in \[0, 1\], got 0.* 1.5",
        ),
        (one_row([0.5, -0.1], [1, 2], [1, 2]), r"scores must lie in \[0, 1\]"),
        (one_row([0.5, math.nan], [1, 2], [1, 2]), r"scores must lie in \[0, 1\].*nan"),
    ]
    for image, message in bad:
        with pytest.raises(ValueError, match=message):
            curve.add(*image)
    assert (curve.confusion(0) == before).all()


def test_errors_read():
    curve = ThresholdCurve(NUM_CLASSES, num_bins=4)
    with pytest.raises(ValueError, match="no scored pixel was added"):
        curve.best()
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        ThresholdCurve(NUM_CLASSES, num_bins=0)
    with pytest.raises(
        ValueError, match="threshold_bin must lie between 0 and 4, got 5"
    ):
        curve.confusion(5)
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\], got 15"):
        curve.at(15.0)
    with pytest.raises(ValueError, match=r"labels have shape \(1, 2\) but truth has"):
        curve.add(*one_row([0.5, 0.5], [1, 2], [1]))


def slow_otsu(histogram):
    """The definition, bin by bin: the split with the least variance within groups."""
    centres = (np.arange(len(histogram)) + 0.5) / len(histogram)
    values = np.repeat(centres, histogram)
    within = []
    for cut in range(1, len(histogram)):
        groups = [values[values < cut / len(histogram)]]
        groups.append(values[values >= cut / len(histogram)])
        within.append(sum(len(g) * g.var() for g in groups if len(g)))
    return np.array(within)


@law
@given(arrays(np.int64, 8, elements=st.integers(0, 20)))
def test_otsu_has_the_least_variance_within_its_groups(histogram):
    threshold = otsu_threshold(histogram)
    if np.count_nonzero(histogram) < 2:
        assert threshold == 0.5
        return
    within = slow_otsu(histogram)
    assert within[round(threshold * 8) - 1] == pytest.approx(within.min(), abs=1e-9)


def test_otsu_by_hand():
    # five scores of 0.125 and two each of 0.625 and 0.875: the gap is what splits best
    assert otsu_threshold(np.array([5, 0, 2, 2])) == 0.25


def test_otsu_needs_two_bins():
    with pytest.raises(ValueError, match="at least two bins, got 1"):
        otsu_threshold(np.array([3]))
