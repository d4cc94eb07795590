import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.word_ranking import WordContrast

law = settings(deadline=None, max_examples=40)
# eighths add up exactly in float64, so that no order hangs on rounding
similarities = arrays(
    "float32", (6, 4), elements=st.integers(-8, 8).map(lambda n: n / 8)
)
tags = arrays("bool", (6, 3))
SIMILARITIES = torch.tensor([[0.5, 0.25, 0.0], [0.25, 0.25, 0.5], [0.0, 0.25, 1.0]])
TAGS = torch.tensor(
    [[True, True, False, True], [True, False, False, True], [False, False, False, True]]
)


def contrast(similarities, tags, *, batch=None):
    found = WordContrast(tags.shape[1], similarities.shape[1])
    pairs = zip(
        torch.as_tensor(similarities).split(batch or len(tags)),
        torch.as_tensor(tags).split(batch or len(tags)),
        strict=True,
    )
    for pair in pairs:
        found.add(*pair)
    return found


def test_excess_by_hand():
    # class 0, images 0 and 1: (.5+.25)/2 - 0, .25 - .25, (0+.5)/2 - 1
    # class 1, image 0: .5 - .25/2, 0, 0 - 1.5/2; class 3, every image: .75/3, .25, .5
    found = contrast(SIMILARITIES, TAGS)
    assert found.excess()[[0, 1, 3]].tolist() == [
        [0.375, 0.0, -0.75],
        [0.375, 0.0, -0.75],
        [0.25, 0.25, 0.5],
    ]
    assert found.excess()[2].isnan().all()


def test_rank_by_hand():
    # of the equal words 0 and 1 of class 3 the earlier comes first
    assert contrast(SIMILARITIES, TAGS).rank() == ((0, 1, 2), (0, 1, 2), (), (2, 0, 1))


@law
@given(similarities, tags, st.integers(1, 5), st.permutations(range(6)))
def test_batches_and_order_do_not_count(similarities, tags, batch, order):
    whole = contrast(similarities, tags)
    parts = contrast(similarities[order], tags[order], batch=batch)
    assert parts.rank() == whole.rank()
    assert torch.equal(parts.excess().nan_to_num(9), whole.excess().nan_to_num(9))


@law
@given(similarities, tags)
def test_rank_is_every_word_once_by_falling_excess(similarities, tags):
    found = contrast(similarities, tags)
    for order, excess, shown in zip(found.rank(), found.excess(), tags.T, strict=True):
        assert sorted(order) == (list(range(4)) if shown.any() else [])
        pairs = [(-excess[place].item(), place) for place in order]
        assert pairs == sorted(pairs)


@law
@given(similarities, tags)
def test_what_all_images_share_does_not_count(similarities, tags):
    tags[0] = False  # some other image for every class
    shared = similarities + similarities[:1]
    plain, moved = contrast(similarities, tags), contrast(shared, tags)
    assert torch.allclose(plain.excess(), moved.excess(), equal_nan=True)


def test_before_any_image_there_is_no_order():
    assert WordContrast(2, 3).rank() == ((), ())
    assert WordContrast(2, 3).shape == (2, 3)


def test_no_gradient_is_kept():
    found = WordContrast(1, 2)
    values = torch.ones(1, 2, requires_grad=True)
    found.add(values * 2, torch.ones(1, 1, dtype=torch.bool))
    assert not found.excess().requires_grad


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match="at least 1 class and 1 word, got 0 and 3"):
        WordContrast(0, 3)
    found = WordContrast(2, 3)
    with pytest.raises(ValueError, match=r"expected \(2, 3\) .*, got \(2, 4\)"):
        found.add(torch.zeros(1, 4), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="a similarity is no finite number"):
        found.add(torch.full((1, 3), torch.nan), torch.ones(1, 2, dtype=torch.bool))
