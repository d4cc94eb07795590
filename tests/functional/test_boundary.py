import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.boundary import (
    boundary_counts,
    boundary_distance,
    boundary_iou,
)
from tag2mask.functional.metrics import mean_of_present
from tag2mask.functional.shapes import IGNORE

NUM_CLASSES = 3
# the first call may compile, which no deadline allows for
law = settings(deadline=None, max_examples=40)


def squares(height, width, *corners):
    """Background with a 6x6 object at each corner."""
    labels = np.zeros((height, width), np.uint8)
    for y, x in corners:
        labels[y : y + 6, x : x + 6] = 1
    return labels


def slow_erosion(mask, times):
    """Erode by a 3x3 square, with nothing beyond the image."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        height, width = mask.shape
        windows = [
            padded[y : y + height, x : x + width] for y in range(3) for x in range(3)
        ]
        mask = np.logical_and.reduce(windows)
    return mask


def slow_counts(labels, truth, *, radius):
    counts = np.zeros((NUM_CLASSES, 3), np.int64)
    scored = truth != IGNORE
    for c in range(NUM_CLASSES):
        masks = [(labels == c) & scored, truth == c]
        bands = [mask & ~slow_erosion(mask, radius) for mask in masks]
        counts[c] = [(bands[0] & bands[1]).sum(), bands[0].sum(), bands[1].sum()]
    return counts


@st.composite
def label_pairs(draw):
    """Maps of a few blocks with some noise, so that windows of one label exist."""
    shape = draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    some_id = st.sampled_from([0, 1, 2, IGNORE])
    fill = st.sampled_from([0, 1, 2])
    one = arrays(np.uint8, shape, elements=some_id, fill=fill)
    return draw(one), draw(one)


@pytest.mark.parametrize(
    ("height", "width", "ratio", "distance"),
    [
        (375, 500, 0.02, 12),  # diagonal 625, 12.5, the half goes to the even 12
        (300, 400, 0.02, 10),
        (300, 400, 0.01, 5),
        (3, 4, 0.02, 1),  # a tenth of a pixel, but at least 1
    ],
)
def test_distance_is_a_share_of_the_diagonal(height, width, ratio, distance):
    assert boundary_distance(height, width, ratio=ratio) == distance


def test_counts_by_hand():
    truth = squares(30, 40, (10, 10))  # diagonal 50, so the band is 1 px wide
    labels = squares(30, 40, (10, 11))  # one pixel to the right
    # object: each band is the outer ring of 6x6, 36 - 16 = 20 pixels. Both rings hold
    # rows 10 and 15 in columns 11 ... 15, 10 pixels; of the rings' columns only 10
    # and 15 against 11 and 16, and the inner rows there are in one ring each.
    # background: the image's edge, 2 * 40 + 2 * 28 = 136, and the ring around 6x6,
    # 8 * 8 - 36 = 28, in both maps 164. The rings around share rows 9 and 16 in
    # columns 10 ... 16, 14 pixels; their columns are 9 and 16 against 10 and 17.
    counts = boundary_counts(labels, truth, num_classes=2)
    assert counts.tolist() == [[136 + 14, 164, 164], [10, 20, 20]]
    expected = [150 / (328 - 150), 10 / (40 - 10)]
    np.testing.assert_allclose(boundary_iou(counts), expected)


@law
@given(label_pairs(), st.integers(1, 3))
def test_counts_equal_repeated_erosion(pair, radius):
    labels, truth = pair
    ratio = radius / math.hypot(*labels.shape)
    assert boundary_distance(*labels.shape, ratio=ratio) == radius
    counts = boundary_counts(labels, truth, num_classes=NUM_CLASSES, ratio=ratio)
    assert (counts == slow_counts(labels, truth, radius=radius)).all()


@law
@given(label_pairs(), label_pairs())
def test_labels_that_agree_where_scored_get_1(pair, other):
    _, truth = pair
    noise = other[0].flat[0]
    labels = np.where(truth == IGNORE, noise, truth)
    counts = boundary_counts(labels, truth, num_classes=NUM_CLASSES)
    iou = boundary_iou(counts)
    assert (iou[~np.isnan(iou)] == 1).all()
    assert np.isnan(iou).tolist() == [not (truth == c).any() for c in range(3)]


def test_ignored_band_around_an_object_is_contour_for_both():
    truth = squares(30, 40, (10, 10))
    truth[9:17, 9] = IGNORE
    labels = np.where(truth == IGNORE, np.uint8(1), truth)
    counts = boundary_counts(labels, truth, num_classes=2)
    assert counts[1].tolist() == [20, 20, 20]


def test_unlabelled_pixels_are_missed_and_claimed_by_none():
    truth = squares(30, 40, (10, 10))
    labels = np.where(truth == 1, np.uint8(IGNORE), truth)
    assert boundary_counts(labels, truth, num_classes=2)[1].tolist() == [0, 0, 20]


def test_a_wider_band_holds_more_and_sees_less():
    truth, labels = squares(30, 40, (10, 10)), squares(30, 40, (10, 11))
    narrow, wide = (
        boundary_counts(labels, truth, num_classes=2, ratio=r) for r in (0.02, 0.04)
    )
    assert wide[1, 2] == 36 - 4  # two rings of a 6x6 square leave 2x2
    assert boundary_iou(wide)[1] > boundary_iou(narrow)[1]


def test_a_shift_costs_boundary_iou_more_than_mask_iou():
    truth, labels = (np.zeros((80, 80), np.uint8) for _ in range(2))
    truth[20:60, 20:60] = labels[20:60, 21:61] = 1
    mask_iou = 39 / 41  # 40x40 shifted by one column: 39 shared of 41 columns
    iou = boundary_iou(boundary_counts(labels, truth, num_classes=2))
    assert mean_of_present(iou) < iou.max() < mask_iou


def test_counts_of_images_add_up():
    first = (squares(30, 40, (10, 10)), squares(30, 40, (10, 11)))
    second = (squares(30, 40, (3, 3)), squares(30, 40, (3, 3)))
    total = sum(boundary_counts(*pair, num_classes=2) for pair in (first, second))
    # the object above, and one labelled perfectly: (10 + 20) of (30 + 20)
    assert boundary_iou(total)[1] == pytest.approx(30 / 50)


def test_errors_read():
    map_ = squares(10, 10, (2, 2))
    with pytest.raises(
        ValueError, match=r"truth: the id 1 is no class; with 1 classes"
    ):
        boundary_counts(np.zeros_like(map_), map_, num_classes=1)
    with pytest.raises(ValueError, match=r"labels: the id 1 is no class"):
        boundary_counts(map_, np.zeros_like(map_), num_classes=1)
    with pytest.raises(ValueError, match=r"ratio must be positive, got 0"):
        boundary_counts(map_, map_, num_classes=2, ratio=0.0)
    with pytest.raises(ValueError, match=r"labels have shape \(10, 10\) but truth"):
        boundary_counts(map_, map_[:5], num_classes=2)
