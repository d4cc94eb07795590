import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tag2mask.functional.metrics import (
    average_precision,
    confusion_matrix,
    mean_average_precision,
    mean_of_present,
    scores_of,
)
from tag2mask.functional.shapes import IGNORE

NUM_CLASSES = 3
# the first call may compile, which no deadline allows for
law = settings(deadline=None, max_examples=40)
# sides beyond 8 reach both the uniform groups of eight pixels and the odd ones
shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
ids = st.sampled_from([0, 1, 2, IGNORE])


@st.composite
def label_pairs(draw, elements=ids):
    shape = draw(shapes)
    fill = st.sampled_from([0, 1, IGNORE])
    one = arrays(np.uint8, shape, elements=elements, fill=fill)
    return draw(one), draw(one)


matrices = arrays(np.int64, (NUM_CLASSES, NUM_CLASSES + 1), elements=st.integers(0, 9))


def array(*rows):
    return np.array(rows, np.uint8)


def slow_confusion(labels, truth, num_classes):
    table = np.zeros((num_classes, num_classes + 1), np.int64)
    for label, true in zip(labels.flat, truth.flat, strict=True):
        if true != IGNORE:
            table[true, num_classes if label == IGNORE else label] += 1
    return table


def test_confusion_of_eight_pixels():
    truth = array([0, 0, 0, 1], [1, 1, IGNORE, IGNORE])
    labels = array([0, 0, 1, 1], [0, IGNORE, 1, IGNORE])
    # truth 0: twice 0, once 1; truth 1: once 0, once 1, once unlabelled;
    # the two pixels of truth 255 count nowhere, whatever their label
    expected = [[2, 1, 0], [1, 1, 1]]
    assert confusion_matrix(labels, truth, num_classes=2).tolist() == expected


@law
@given(label_pairs())
def test_confusion_equals_the_slow_count(pair):
    labels, truth = pair
    table = confusion_matrix(labels, truth, num_classes=NUM_CLASSES)
    assert (table == slow_confusion(labels, truth, NUM_CLASSES)).all()


@pytest.mark.parametrize("num_classes", [1, 2, 21, 81, 255])
def test_any_number_of_classes_an_8_bit_map_holds(num_classes):
    generator = np.random.default_rng(0)
    choices = np.array([*range(num_classes), IGNORE], np.uint8)
    runs = generator.integers(1, 40, size=150)  # ragged and uniform groups of eight
    pairs = generator.choice(choices, size=(2, 150)).repeat(runs, axis=1)
    labels, truth = pairs[:, None]
    table = confusion_matrix(labels, truth, num_classes=num_classes)
    assert (table == slow_confusion(labels, truth, num_classes)).all()


@law
@given(label_pairs(), label_pairs())
def test_matrices_of_two_images_add_up_to_that_of_both(first, second):
    tables = [confusion_matrix(*p, num_classes=NUM_CLASSES) for p in (first, second)]
    both = [np.append(a, b)[None] for a, b in zip(first, second, strict=True)]
    assert (sum(tables) == confusion_matrix(*both, num_classes=NUM_CLASSES)).all()


@law
@given(label_pairs(), st.permutations(range(NUM_CLASSES)))
def test_renaming_classes_renames_scores(pair, order):
    renamed = np.full(256, IGNORE, np.uint8)
    renamed[list(order)] = range(NUM_CLASSES)
    before = scores_of(confusion_matrix(*pair, num_classes=NUM_CLASSES))
    after = scores_of(
        confusion_matrix(*(renamed[p] for p in pair), num_classes=NUM_CLASSES)
    )
    for name in ("iou", "precision", "recall", "fpr", "fnr"):
        old, new = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(old[list(order)], new)
    assert after.miou == pytest.approx(before.miou, nan_ok=True)


def test_layout_in_memory_does_not_matter():
    generator = np.random.default_rng(0)
    labels, truth = generator.integers(0, 3, (2, 30, 22), np.uint8)
    expected = confusion_matrix(labels, truth, num_classes=3)
    frozen = truth.copy()
    frozen.flags.writeable = False
    flipped = labels.T.copy().T
    assert (confusion_matrix(flipped, frozen, num_classes=3) == expected).all()
    halves = confusion_matrix(labels[:, ::2], truth[:, ::2], num_classes=3)
    assert (halves == slow_confusion(labels[:, ::2], truth[:, ::2], 3)).all()
    assert not frozen.flags.writeable


def test_an_empty_image_counts_nothing():
    empty = np.zeros((0, 5), np.uint8)
    assert not confusion_matrix(empty, empty, num_classes=2).any()


@pytest.mark.parametrize("where", ["labels", "truth"])
@pytest.mark.parametrize("run", [1, 8])  # alone, and as a uniform group of eight
def test_an_id_that_is_no_class_is_named(where, run):
    maps = {"labels": np.zeros((3, 8), np.uint8), "truth": np.zeros((3, 8), np.uint8)}
    maps[where][1, :run] = 21
    message = (
        f"{where}: the id 21 is no class; with 21 classes ids are 0 to 20, and 255"
    )
    with pytest.raises(ValueError, match=message):
        confusion_matrix(**maps, num_classes=21)


def test_maps_of_two_shapes_are_refused():
    labels, truth = np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)
    message = r"labels have shape \(2, 3\) but truth has \(3, 2\)"
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, truth, num_classes=2)


def test_wider_integers_are_refused():
    wide = np.zeros((2, 3), np.int64)
    with pytest.raises(TypeError):
        confusion_matrix(wide, wide, num_classes=2)


@pytest.mark.parametrize("num_classes", [0, 256])
def test_classes_beyond_8_bits_are_refused(num_classes):
    message = f"num_classes must lie between 1 and 255, got {num_classes}"
    with pytest.raises(ValueError, match=message):
        confusion_matrix(array([0]), array([0]), num_classes=num_classes)


def test_scores_by_hand():
    # rows truth, columns labels 0, 1, 2 and unlabelled
    table = np.array([[6, 2, 0, 0], [1, 3, 0, 4], [0, 0, 0, 0]])
    # class 0: tp 6, fp 1, fn 2, union 9; class 1: tp 3, fp 2, fn 1 + 4 = 5, union 10;
    # class 2: absent from truth and labels
    scores = scores_of(table)
    nan = math.nan
    np.testing.assert_array_equal(scores.iou, [6 / 9, 3 / 10, nan])
    np.testing.assert_array_equal(scores.fpr, [1 / 9, 2 / 10, nan])
    np.testing.assert_array_equal(scores.fnr, [2 / 9, 5 / 10, nan])
    np.testing.assert_array_equal(scores.precision, [6 / 7, 3 / 5, nan])
    np.testing.assert_array_equal(scores.recall, [6 / 8, 3 / 8, nan])
    assert scores.miou == pytest.approx((6 / 9 + 3 / 10) / 2)
    assert scores.pixel_accuracy == 9 / 16  # 16 scored pixels, 9 right
    assert scores.coverage == 12 / 16  # 4 unlabelled
    assert scores.purity == 9 / 12


def test_a_class_only_labelled_counts_with_iou_0():
    # truth 0 everywhere, a quarter of it called 1: ious 3/4 and 0/1
    scores = scores_of(np.array([[3, 1, 0], [0, 0, 0]]))
    assert scores.miou == 3 / 8
    assert math.isnan(scores.recall[1])


def test_an_unlabelled_pixel_is_false_positive_of_no_class():
    all_unlabelled = scores_of(np.array([[0, 0, 5], [0, 0, 3]]))
    assert all_unlabelled.fpr.tolist() == [0, 0]
    assert all_unlabelled.fnr.tolist() == [1, 1]
    assert (all_unlabelled.coverage, all_unlabelled.miou) == (0, 0)
    assert math.isnan(all_unlabelled.purity)


def test_nothing_scored_is_nan():
    scores = scores_of(np.zeros((2, 3), np.int64))
    assert math.isnan(scores.miou)
    assert math.isnan(scores.coverage)


@law
@given(matrices)
def test_iou_fpr_and_fnr_sum_to_1(table):
    scores = scores_of(table)
    total = scores.iou + scores.fpr + scores.fnr
    is_present = ~np.isnan(scores.iou)
    np.testing.assert_allclose(total[is_present], 1)
    assert np.isnan(total[~is_present]).all()


@law
@given(matrices)
def test_fractions_lie_between_0_and_1(table):
    for score in scores_of(table):
        values = np.atleast_1d(score)
        values = values[~np.isnan(values)]
        assert ((values >= 0) & (values <= 1)).all()


def test_a_matrix_without_the_unlabelled_column_is_refused():
    with pytest.raises(ValueError, match="one column more than rows, the last for"):
        scores_of(np.zeros((3, 3), np.int64))


def test_mean_of_present_classes():
    values = np.array([[0.5, math.nan, 1.0], [math.nan] * 3])
    np.testing.assert_array_equal(mean_of_present(values), [0.75, math.nan])


def slow_average_precision(scores, positives):
    """Precision at each distinct score, weighted by the recall gained there."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        accepted = scores >= threshold
        recall = positives[accepted].sum() / positives.sum()
        area += (recall - recall_before) * positives[accepted].mean()
        recall_before = recall
    return area


@pytest.mark.parametrize(
    ("scores", "positives", "expected"),
    [
        ([0.9, 0.8, 0.1], [1, 1, 0], 1.0),
        # ranks of the positives 1 and 3: 1/2 * 1/1 + 1/2 * 2/3
        ([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0], 5 / 6),
        # scikit-learn's own example: 1/2 * 1/1 + 1/2 * 2/3
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 5 / 6),
        # a tie of a positive and a negative is accepted together: 1 * 1/2
        ([0.5, 0.5], [1, 0], 0.5),
        ([0.5, 0.5], [0, 1], 0.5),
    ],
)
def test_average_precision_by_hand(scores, positives, expected):
    found = average_precision(np.array(scores), np.array(positives, bool))
    assert found == pytest.approx(expected)


@law
@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=9))
def test_average_precision_equals_the_definition(images):
    scores, positives = (np.array(column) for column in zip(*images, strict=True))
    found = average_precision(scores.astype(np.float32), positives)
    if positives.any():
        assert found == pytest.approx(slow_average_precision(scores, positives))
    else:
        assert math.isnan(found)


def test_mean_average_precision_leaves_out_tags_never_set():
    scores = np.array([[0.9, 0.2, 0.5], [0.8, 0.7, 0.5]])
    tags = np.array([[True, True, False], [False, False, False]])
    # tag 0: ranked first, 1; tag 1: ranked second, 1/2; tag 2: never set
    assert mean_average_precision(scores, tags) == pytest.approx(3 / 4)
    assert math.isnan(mean_average_precision(scores, np.zeros_like(tags)))


def test_a_score_of_nan_is_refused():
    with pytest.raises(ValueError, match="scores hold nan, which has no rank"):
        average_precision(np.array([math.nan, 0.5]), np.array([True, False]))
