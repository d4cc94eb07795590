import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.functional.presence import weigh_by_presence

LOGITS = st.integers(0, 2**32 - 1).map(
    lambda seed: 4 * torch.randn(2, 4, 3, 5, generator=torch.manual_seed(seed))
)


def test_probabilities_are_multiplied_by_a_power_of_the_greatest():
    # background, a class that reaches 0.8, and one that reaches 0.4, in two pixels
    shares = torch.tensor([[0.1, 0.35], [0.8, 0.25], [0.1, 0.4]]).view(1, 3, 1, 2)
    found = weigh_by_presence(shares.log(), strength=2.0).exp()
    expected = torch.tensor([[0.1, 0.35], [0.512, 0.16], [0.016, 0.064]])
    torch.testing.assert_close(found.view(3, 2), expected)
    assert shares[0].argmax(0).flatten().tolist() == [1, 2]
    assert found[0].argmax(0).flatten().tolist() == [1, 0]


@given(LOGITS, st.floats(0, 20))
def test_background_stays_and_no_class_gains(logits, strength):
    found = weigh_by_presence(logits, strength=strength)
    assert torch.equal(found[:, 0], logits[:, 0])
    assert (found <= logits).all()
    change = found - logits
    flat = change.flatten(2)
    torch.testing.assert_close(flat, flat[..., :1].expand_as(flat), atol=1e-4, rtol=0)


@given(LOGITS)
def test_strength_nothing_changes_nothing(logits):
    assert torch.equal(weigh_by_presence(logits, strength=0.0), logits)


@given(LOGITS, st.floats(-50, 50))
def test_a_constant_on_all_classes_changes_no_share(logits, constant):
    found = weigh_by_presence(logits + constant, strength=3.0).softmax(1)
    expected = weigh_by_presence(logits, strength=3.0).softmax(1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_images_of_a_batch_do_not_mix():
    logits = torch.randn(3, 4, 2, 2, generator=torch.manual_seed(0))
    alone = [weigh_by_presence(each[None], strength=2.0) for each in logits]
    assert torch.equal(weigh_by_presence(logits, strength=2.0), torch.cat(alone))


def test_a_class_that_is_certain_somewhere_keeps_all_its_pixels():
    logits = torch.zeros(1, 3, 1, 2)
    logits[0, 2, 0, 0] = 1e4
    assert torch.equal(weigh_by_presence(logits, strength=5.0)[:, 2], logits[:, 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_logits_stay_finite(dtype):
    logits = torch.tensor([1e4, -1e4, 0.0], dtype=dtype).view(1, 3, 1, 1)
    found = weigh_by_presence(logits, strength=100.0)
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_negative_strength_is_refused():
    with pytest.raises(ValueError, match="strength must be at least 0, got -1"):
        weigh_by_presence(torch.zeros(1, 2, 1, 1), strength=-1.0)
