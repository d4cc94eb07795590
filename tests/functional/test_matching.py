import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tag2mask.functional.matching import is_said, matching_loss


def bools(rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_a_text_is_said_by_captions_that_have_all_its_words():
    texts = bools([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    captions = bools([[1, 1, 0], [1, 0, 1]])
    expected = bools([[1, 1, 1], [1, 0, 1]])
    assert torch.equal(is_said(texts, captions), expected)


def test_matches_compete_with_what_does_not_match_only():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(2.0), 0.0]])
    matches = bools([[1, 1], [0, 1]])
    # image 0: nothing rivals its texts, 0; image 1: text 1 against text 0, log(1 + 2)
    images = (0 + math.log(3)) / 2
    # text 0: image 0 against image 1, log(1 + 2); text 1: nothing rivals its images
    texts = (math.log(3) + 0) / 2
    found = matching_loss(logits, matches)
    assert found.item() == pytest.approx((images + texts) / 2, rel=1e-6)


def test_each_match_of_an_image_has_the_same_weight():
    logits = torch.tensor([[0.0, math.log(2.0), math.log(4.0)]])
    # by image: text 0 against text 2, log(1 + 4); text 1 against text 2, log(1 + 2)
    images = (math.log(5) + math.log(3)) / 2
    # by text: the only image has no rival
    found = matching_loss(logits, bools([[1, 1, 0]]))
    assert found.item() == pytest.approx(images / 2, rel=1e-6)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_one_match_each_is_the_loss_of_clip(count, random_seed):
    generator = torch.Generator().manual_seed(random_seed)
    logits = torch.randn(count, count, generator=generator)
    target = torch.arange(count)
    clip = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    found = matching_loss(logits, torch.eye(count, dtype=torch.bool))
    torch.testing.assert_close(found, clip)


def test_an_image_without_a_match_does_not_count_as_a_row():
    logits = torch.tensor([[0.0, 1.0], [5.0, 2.0]])
    none = matching_loss(logits, torch.zeros(2, 2, dtype=torch.bool))
    assert none.item() == 0
    # row 0: log(1 + e); row 1 has no match; column 0: log(1 + e^5); column 1 has none
    one = matching_loss(logits, bools([[1, 0], [0, 0]]))
    expected = (math.log(1 + math.e) + math.log(1 + math.exp(5))) / 2
    assert one.item() == pytest.approx(expected, rel=1e-6)


def test_infinite_logits_of_no_match_leave_the_loss_finite():
    logits = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]], requires_grad=True)
    matching_loss(logits, torch.eye(2, dtype=torch.bool)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
