import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.functional.class_balance import logit_adjustment


def test_offset_is_strength_times_the_logarithm_of_the_share():
    # shares 1/2, 1/4, 1/4; half of log(1/2) and of log(1/4)
    found = logit_adjustment(torch.tensor([80, 40, 40]), strength=0.5)
    expected = torch.tensor([-0.34657, -0.69315, -0.69315])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=81))
def test_strength_nothing_is_no_offset(pixels):
    assert not logit_adjustment(torch.tensor(pixels), strength=0.0).any()


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=9))
def test_offsets_are_finite_and_rarer_is_lower(pixels):
    found = logit_adjustment(torch.tensor(pixels), strength=1.0)
    assert found.isfinite().all()
    assert (found <= 0).all()
    order = torch.tensor(pixels).argsort()
    assert (found[order].diff() >= 0).all()


def test_a_class_without_pixels_counts_as_having_one():
    found = logit_adjustment(torch.tensor([999, 0]), strength=1.0)
    assert found[1].item() == pytest.approx(math.log(1 / 1000))


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match=r"strength must be in \[0, 1\], got"):
        logit_adjustment(torch.tensor([1, 1]), strength=strength)
