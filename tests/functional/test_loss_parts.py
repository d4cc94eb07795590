"""What the positive-negative loss is made of, and the losses beside it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.autograd import gradcheck

from tag2mask.functional.noisy_losses import (
    background_shares,
    cross_entropy_loss,
    log1m_exp,
    log_constrained,
    positive_weight,
)
from tag2mask.functional.shapes import IGNORE

law = settings(deadline=None, max_examples=25)


def some_logits(random_seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(random_seed)
    return 3 * torch.randn(2, 4, 3, 5, generator=generator)


@law
@given(st.integers(0, 100), st.floats(0.1, 10))
def test_constrained_softmax_sees_the_direction_only(random_seed, factor):
    logits = some_logits(random_seed)
    torch.testing.assert_close(
        log_constrained(factor * logits, tau=0.3), log_constrained(logits, tau=0.3)
    )


def test_constrained_softmax_sums_to_one_and_is_even_at_zero():
    logits = some_logits()
    sums = log_constrained(logits, tau=0.1).exp().sum(dim=1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    at_zero = log_constrained(torch.zeros(1, 4, 1, 1), tau=0.1)
    torch.testing.assert_close(at_zero, torch.full_like(at_zero, -math.log(4)))


def test_gradient_at_zero_logits_is_bounded():
    logits = torch.zeros(1, 4, 1, 1, requires_grad=True)
    log_constrained(logits, tau=0.1)[0, 0].sum().backward()
    # (1 - 1/4) / (tau * 1e-3), the floor under the norm
    assert logits.grad.amax().item() == pytest.approx(7500)


def test_gradients_of_the_parts():
    logits = some_logits()
    logits = logits.double().requires_grad_()
    assert gradcheck(lambda z: log_constrained(z, tau=0.3), (logits,))
    log_p = torch.tensor([-30.0, -1.0, -0.6931, -0.7, -1e-3], dtype=torch.float64)
    assert gradcheck(log1m_exp, (log_p.requires_grad_(),))


@law
@given(arrays("float64", 5, elements=st.floats(-700, -1e-12)))
def test_log1m_exp_is_exact_at_both_ends(log_p):
    expected = [
        math.log1p(-math.exp(x)) if x < -0.5 else math.log(-math.expm1(x))
        for x in log_p.tolist()
    ]
    torch.testing.assert_close(
        log1m_exp(torch.from_numpy(log_p)),
        torch.tensor(expected, dtype=torch.float64),
        rtol=1e-12,
        atol=0,
    )


def test_log1m_exp_at_its_limits():
    log_p = torch.tensor([0.0, -math.inf, -1e-30], requires_grad=True)
    result = log1m_exp(log_p)
    assert result[:2].tolist() == [-math.inf, 0]
    assert result[2].item() == pytest.approx(-30 * math.log(10), rel=1e-6)
    result[1:].sum().backward()
    assert log_p.grad[1:].isfinite().all()


def test_num_factors_is_alive():
    half = torch.tensor(0.5)
    weights = [positive_weight(half, num_factors=n).item() for n in range(4)]
    assert weights == [1, 1.5, 1.875, 1.9921875]  # 2 (1 - 2^-(2^n))


@law
@given(st.integers(0, 100))
def test_cross_entropy_is_torchs_where_that_is_defined(random_seed):
    logits = some_logits(random_seed)
    labels = logits.argmin(dim=1).masked_fill(logits[:, 0] > 0, IGNORE)
    torch.testing.assert_close(
        cross_entropy_loss(logits, labels),
        torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE),
    )


def test_cross_entropy_without_a_labelled_pixel_is_zero():
    logits = some_logits().requires_grad_()
    nothing = torch.full((2, 3, 5), IGNORE, dtype=torch.uint8)
    loss = cross_entropy_loss(logits, nothing)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_cross_entropy_of_half_precision_is_float32():
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1).bfloat16()
    loss = cross_entropy_loss(logits, torch.ones(1, 1, 1, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(2e4, rel=1e-2)


def test_num_factors_is_not_negative():
    with pytest.raises(ValueError, match="num_factors must not be negative, got -1"):
        positive_weight(torch.zeros(1), num_factors=-1)


def test_background_shares_count_labelled_pixels_only():
    # predicted: background, background, object; the fourth pixel is ignored
    logits = torch.tensor([[2.0, 1.0, 0.0, 9.0], [0.0, 0.0, 1.0, 0.0]]).view(1, 2, 1, 4)
    labels = torch.tensor([0, 1, 1, IGNORE]).view(1, 1, 4)
    shares = background_shares(logits, labels)
    assert shares.predicted.item() == pytest.approx(2 / 3)
    assert shares.labelled.item() == pytest.approx(1 / 3)


def test_background_shares_without_a_labelled_pixel_are_zero():
    nothing = torch.full((1, 1, 1), IGNORE)
    assert background_shares(torch.zeros(1, 2, 1, 1), nothing) == (0, 0)
