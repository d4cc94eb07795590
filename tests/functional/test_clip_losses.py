import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.autograd import gradcheck

from tag2mask.functional.clip_losses import (
    CaClWeights,
    ClimsWeights,
    PairCosines,
    background_suppression,
    ca_cl_losses,
    clims_losses,
    contrast_loss,
    size_prior,
)

law = settings(deadline=None, max_examples=25)
cosine = st.floats(-1, 1, width=32)
HALVES = (torch.bfloat16, torch.float16)
MAPS = torch.linspace(0, 1, 24).view(2, 3, 2, 2)
GATE = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])


def some_pairs(dtype=torch.float32):
    return PairCosines(
        torch.tensor([0.3, 0.25, 0.2], dtype=dtype),
        torch.tensor([0.15, 0.2, 0.1], dtype=dtype),
        torch.tensor([[0.28, 0.1], [0.25, 0.3], [0.2, 0.1]], dtype=dtype),
    )


def no_pairs():
    return PairCosines(
        torch.zeros(0, requires_grad=True),
        torch.zeros(0, requires_grad=True),
        torch.zeros(0, 2, requires_grad=True),
    )


def clims_of(foreground, background):
    pairs = PairCosines(
        torch.tensor([foreground]), torch.tensor([background]), torch.zeros(1, 1)
    )
    for each in pairs:
        each.requires_grad_()
    ones = ClimsWeights(1.0, 1.0, 1.0, 1.0)
    losses = clims_losses(pairs, torch.zeros(1, 1), MAPS, weights=ones)
    losses.total.backward()
    return losses, pairs.foreground.grad.item(), pairs.background.grad.item()


@law
@given(arrays("float32", (2, 4), elements=cosine), st.floats(0, 2))
def test_contrast_is_bounded_and_falls_to_zero_with_the_margin_kept(s, margin):
    foreground, background = torch.from_numpy(s)
    contrast = contrast_loss(foreground, background, margin=margin)
    assert 0 <= contrast.loss <= margin + 2
    assert 0 <= contrast.active <= 1
    apart = contrast_loss(foreground + 2 + margin + 1e-3, background, margin=margin)
    assert apart == (0, 0)


def test_margin_is_alive():
    losses = [
        contrast_loss(*some_pairs()[:2], margin=m).loss.item() for m in (0.1, 0.5)
    ]
    # gaps 0.15, 0.05, 0.1: (0 + 0.05 + 0) / 3 and 0.5 - 0.1
    assert losses == pytest.approx([0.05 / 3, 0.4])
    pairs = some_pairs()
    terms = [ca_cl_losses(pairs, GATE, MAPS, margin=m).contrast for m in (0.1, 0.5)]
    assert terms[0].item() == pytest.approx(40 * 0.05 / 3)
    assert terms[1].item() == pytest.approx(40 * 0.4)


@law
@given(arrays("float32", (3, 4), elements=cosine))
def test_suppression_is_a_sum_over_open_prompts(s):
    similarities = torch.from_numpy(s)
    gate = (similarities >= 0.1).float()
    loss = background_suppression(similarities, gate, num_images=2)
    assert loss >= 0
    expected = sum(
        -math.log(1 - min(x, 0.9999))
        for x in similarities.flatten().tolist()
        if x >= 0.1
    )
    assert loss.item() == pytest.approx(expected / 2, rel=1e-3)
    closed = background_suppression(similarities, 0 * gate, num_images=2)
    assert closed.item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("value", [1.0, 0.99995, 1.0000001])
def test_a_cosine_of_one_is_finite(dtype, value):
    similarities = torch.tensor([[value]], dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = background_suppression(similarities, torch.ones(1, 1), num_images=1)
    loss.backward()
    # -log(1 - 0.9999) = 4 log 10
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4 * math.log(10), rel=1e-3)
    assert similarities.grad.isfinite().all()


@pytest.mark.parametrize("method", [ca_cl_losses, clims_losses])
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_computed_in_float32(method, dtype):
    pairs = some_pairs(dtype)
    exact = PairCosines(*(each.float() for each in pairs))
    maps = MAPS.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(pairs, GATE, maps)
    assert {each.dtype for each in losses} == {torch.float32}
    torch.testing.assert_close(losses, method(exact, GATE, maps.float()))


@pytest.mark.parametrize("method", [ca_cl_losses, clims_losses])
def test_without_a_pair_only_the_size_prior_teaches(method):
    pairs = no_pairs()
    maps = MAPS.clone().requires_grad_()
    losses = method(pairs, torch.zeros(0, 2), maps)
    losses.total.backward()
    assert losses.total.item() == losses.size.item() > 0
    assert all(torch.equal(each.grad, torch.zeros_like(each)) for each in pairs)
    assert (maps.grad > 0).all()


@pytest.mark.parametrize(
    ("method", "weights"),
    [(ca_cl_losses, CaClWeights()), (clims_losses, ClimsWeights())],
)
def test_every_weight_scales_its_own_term(method, weights):
    before = method(some_pairs(), GATE, MAPS)
    for name, weight in weights._asdict().items():
        changed = weights._replace(**{name: 3 * weight})
        after = method(some_pairs(), GATE, MAPS, weights=changed)
        factors = {
            each: getattr(after, each).item() / getattr(before, each).item()
            for each in weights._fields
        }
        expected = dict.fromkeys(weights._fields, 1.0) | {name: 3.0}
        assert factors == pytest.approx(expected)
        difference = 2 * getattr(before, name).item()
        assert (after.total - before.total).item() == pytest.approx(
            difference, rel=1e-4
        )


def test_reduction_is_alive():
    # two images: the sum is twice the mean
    pairs = some_pairs()
    summed = ca_cl_losses(pairs, GATE, MAPS, reduction="sum").background
    mean = ca_cl_losses(pairs, GATE, MAPS).background
    assert summed.item() == pytest.approx(2 * mean.item())
    mean = clims_losses(pairs, GATE, MAPS, reduction="mean").suppression
    summed = clims_losses(pairs, GATE, MAPS).suppression
    assert summed.item() == pytest.approx(2 * mean.item())


def test_gradients():
    foreground = torch.tensor([0.3, 0.02, -0.4, 0.005], dtype=torch.float64)
    background = torch.tensor([0.3, 0.9, 0.2, 0.1], dtype=torch.float64)
    prompts = torch.tensor([[0.3], [-0.1], [0.9], [0.2]], dtype=torch.float64)
    maps = MAPS.double()

    def total(method):
        return lambda *inputs: (
            method(PairCosines(*inputs[:3]), torch.ones(4, 1), inputs[3]).total
        )

    inputs = [x.requires_grad_() for x in (foreground, background, prompts, maps)]
    assert gradcheck(total(clims_losses), inputs)
    assert gradcheck(total(ca_cl_losses), inputs)


def test_a_foreground_beyond_the_logarithm_is_pulled_along_the_tangent():
    # at 0.01: -log 0.01 = 4.60517, slope -100; at -0.3: 4.60517 + 100 * 0.31
    at_the_floor, slope, _ = clims_of(0.01, 0.0)
    assert at_the_floor.foreground.item() == pytest.approx(4.60517, abs=1e-4)
    assert slope == pytest.approx(-100)
    below, slope, _ = clims_of(-0.3, 0.0)
    assert below.foreground.item() == pytest.approx(35.60517, abs=1e-4)
    assert slope == pytest.approx(-100)


def test_a_background_that_is_unrelated_is_left_alone():
    related, _, slope = clims_of(0.3, 0.2)
    assert related.background.item() == pytest.approx(-math.log(0.8))
    assert slope == pytest.approx(1 / 0.8)
    opposite, _, slope = clims_of(0.3, -0.4)
    assert opposite.background.item() == 0
    assert slope == 0


def test_size_prior_has_an_even_gradient():
    maps = MAPS.clone().requires_grad_()
    size_prior(maps).backward()
    torch.testing.assert_close(maps.grad, torch.full_like(maps, 1 / 24))


def test_a_batch_has_images():
    with pytest.raises(ValueError, match="num_images must be at least 1, got 0"):
        background_suppression(torch.zeros(0, 2), torch.zeros(0, 2), num_images=0)
