import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.seeding import (
    alpha_of_threshold,
    background_score,
    join_background,
    labels_from_scores,
)

CAT, DOG = 8, 12
law = settings(deadline=None, max_examples=30)
scores = st.floats(0, 1, width=32)
maps = arrays("float32", (2, 3, 2), elements=scores).map(torch.from_numpy)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(1.0, 0.25), (2.0, 0.0625), (0.5, 0.5)],  # (1 - 0.75) ^ alpha
)
def test_alpha_bends_the_background(alpha, expected):
    cams = torch.tensor([0.5, 0.75]).view(2, 1, 1)
    assert background_score(cams, alpha=alpha).item() == pytest.approx(expected)


@law
@given(maps)
def test_larger_alpha_never_gives_more_background(cams):
    low, high = (background_score(cams, alpha=alpha) for alpha in (1.0, 3.0))
    assert (high <= low).all()


def test_an_active_object_leaves_no_background_even_above_one():
    cams = torch.tensor([1.0, 1.5]).view(1, 1, 2)
    assert background_score(cams, alpha=0.5).tolist() == [[0.0, 0.0]]


def test_image_without_tags_is_background():
    nothing = torch.zeros(0, 2, 3)
    joined = join_background(nothing, background_score(nothing, alpha=2.0))
    assert labels_from_scores(joined, [0]).eq(0).all()


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_alpha_is_above_zero(alpha):
    with pytest.raises(ValueError, match=f"alpha must be above 0, got {alpha}"):
        background_score(torch.zeros(1, 1, 1), alpha=alpha)


@law
@given(maps, scores)
def test_background_is_channel_zero_whether_a_map_or_a_number(cams, constant):
    from_number = join_background(cams, constant)
    from_map = join_background(cams, torch.full((3, 2), constant))
    assert torch.equal(from_number, from_map)
    assert torch.equal(from_number[1:], cams)


@pytest.mark.parametrize(
    ("score", "label"),
    [(0.6, CAT), (0.7, 0), (0.8, 0)],  # a tie is background
)
def test_constant_background_is_the_threshold_of_objects(score, label):
    cams = torch.tensor([0.7, 0.2]).view(2, 1, 1)
    joined = join_background(cams, score)
    assert labels_from_scores(joined, [0, CAT, DOG]).item() == label


def test_a_tie_between_objects_goes_to_the_earlier_channel():
    tied = torch.tensor([0.1, 0.7, 0.7]).view(3, 1, 1)
    assert labels_from_scores(tied, [0, CAT, DOG]).item() == CAT
    assert labels_from_scores(tied, [0, DOG, CAT]).item() == DOG


def test_half_precision_maps_are_read_as_they_are():
    cams = torch.tensor([0.7, 0.2]).half().view(2, 1, 1)
    joined = join_background(cams, background_score(cams, alpha=2.0))
    assert labels_from_scores(joined, [0, CAT, DOG]).item() == CAT


@pytest.mark.parametrize(
    ("class_ids", "message"),
    [
        ([0], r"one class id per channel \(2\), got 1"),
        ([CAT, DOG], r"must begin with background \(0\), got \[8, 12\]"),
        ([0, 255], r"between 0 and 254, got \[0, 255\]"),
    ],
)
def test_class_ids_that_cannot_be_meant_are_refused(class_ids, message):
    with pytest.raises(ValueError, match=message):
        labels_from_scores(torch.zeros(2, 1, 1), class_ids)


def test_scores_without_a_channel_are_refused():
    with pytest.raises(ValueError, match="must begin with background"):
        labels_from_scores(torch.zeros(0, 1, 1), [])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.9])
def test_alpha_of_a_threshold_makes_background_and_object_tie(threshold):
    cams = torch.full((1, 1, 1), threshold, dtype=torch.float64)
    background = background_score(cams, alpha=alpha_of_threshold(threshold))
    assert background.item() == pytest.approx(threshold)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_alpha_of_no_threshold(threshold):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        alpha_of_threshold(threshold)
