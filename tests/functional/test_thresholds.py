import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.metrics import confusion_matrix, scores_of
from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.thresholds import (
    ThresholdCurve,
    agreement_threshold,
    oracle_threshold,
    otsu_threshold,
)

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


def test_agreement_has_no_use_for_background():
    # the others name one cat among twenty pixels, of score 0.3; five pixels of
    # background have a score of 0.6. At 0.2 the IoU of cat is 1/6, from 0.3 on it is 0,
    # though at 0.6 nineteen of twenty pixels would agree
    scores = [0.3] + [0.6] * 5 + [0.1] * 14
    curve = curve_of(one_row(scores, [1] * 20, [1] + [0] * 19), num_bins=10)
    # 0.1 as float32 lies above 0.1, which costs 14 pixels there; 0.3 lies above 0.3
    assert agreement_threshold(curve) == 0.2
    assert oracle_threshold(curve) == 0.7  # no object: background 19/20, cat 0


def test_agreement_counts_classes_that_the_others_name():
    # dog is named nowhere: what is called dog counts as a cat that was missed
    image = one_row([0.9, 0.5, 0.4], [1, 2, 1], [1, 1, 0])
    # cat: from 0.4 on 1/2; below it a false one as well, 1/3
    assert agreement_threshold(curve_of(image, num_bins=20)) == pytest.approx(0.45)


@law
@given(images(8))
def test_agreement_is_the_best_mean_over_objects_of_the_others(image):
    curve = curve_of(image, num_bins=8)
    score, best, others = image
    named = [each for each in (1, 2) if (others == each).any()]
    found = agreement_threshold(curve)
    if not named:
        assert found is None
        return
    means = []
    for i in range(1, 8):
        labels = labels_at(i / 8, score, best)
        counts = confusion_matrix(labels, others, num_classes=NUM_CLASSES)
        means.append(scores_of(counts).iou[named].mean())
    assert found == pytest.approx((1 + int(np.argmax(means))) / 8)


def test_thresholds_lie_strictly_inside():
    # all objects: the lowest would be best, the grid's 0 included
    ones = one_row([0.05, 0.9], [1, 1], [1, 1])
    # all background: 1 would be best
    zeros = one_row([1.0, 1.0], [1, 1], [0, 0])
    assert agreement_threshold(curve_of(ones, num_bins=10)) == 0.1
    assert oracle_threshold(curve_of(ones, num_bins=10)) == 0.1
    assert agreement_threshold(curve_of(zeros, num_bins=10)) is None
    assert 0 < oracle_threshold(curve_of(zeros, num_bins=10)) < 1
    assert oracle_threshold(curve_of(num_bins=10)) is None
