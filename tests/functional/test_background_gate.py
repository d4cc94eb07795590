import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.background_gate import (
    Motion,
    drift,
    move_thresholds,
    pass_above,
)

law = settings(deadline=None, max_examples=25)
similar = arrays("float32", (3, 4), elements=st.floats(0, 1, width=32))
THETA = torch.tensor([0.2, 0.5, 0.8])
WIDTH = torch.full((3,), 0.1)


@law
@given(similar)
def test_forward_the_gate_is_hard(s):
    similarities = torch.from_numpy(s)
    gate = pass_above(similarities, THETA.clone().requires_grad_(), width=WIDTH)
    assert torch.equal(gate, (similarities >= THETA.unsqueeze(1)).float())


@law
@given(similar, st.floats(0, 0.5))
def test_a_higher_threshold_passes_no_more(s, higher):
    similarities = torch.from_numpy(s)
    before = pass_above(similarities, THETA, width=WIDTH)
    after = pass_above(similarities, THETA + higher, width=WIDTH)
    assert (after <= before).all()


def test_backward_the_gate_is_a_sigmoid_in_theta_and_constant_in_s():
    # sigmoid'(1) / 0.2 = 0.196612 / 0.2
    similarities = torch.tensor([[0.6]], requires_grad=True)
    theta = torch.tensor([0.4], requires_grad=True)
    gate = pass_above(similarities, theta, width=torch.tensor([0.2]))
    gate.sum().backward()
    assert theta.grad.item() == pytest.approx(-0.983060, abs=1e-5)
    assert similarities.grad is None


@law
@given(similar, st.floats(0.1, 5))
def test_the_gradient_of_a_gate_has_one_sign(s, temperature):
    force = drift(torch.from_numpy(s), THETA, WIDTH, temperature=temperature)
    assert (force >= 0).all()


def test_drift_without_a_pair_is_empty_and_works_without_gradient():
    empty = torch.zeros(0)
    with torch.no_grad():
        assert drift(torch.zeros(0, 4), empty, empty, temperature=1.0).shape == (0,)
        some = drift(torch.full((3, 4), 0.5), THETA, WIDTH, temperature=1.0)
    assert (some > 0).all()


def test_temperature_is_alive():
    # far from the threshold only a wide sigmoid has a gradient
    similarities = torch.full((3, 4), 0.5)
    narrow, wide = (
        drift(similarities, THETA, WIDTH, temperature=t) for t in (0.1, 2.0)
    )
    assert (narrow[[0, 2]] < 1e-6).all()
    assert (wide[[0, 2]] > 1e-3).all()


def moved(force, **knobs):
    motion = Motion()._replace(**knobs)
    theta = torch.tensor([0.3])
    mean, deviation = torch.tensor([0.25]), torch.tensor([0.1])
    return move_thresholds(
        theta, torch.tensor([force]), mean=mean, deviation=deviation, motion=motion
    ).item()


def test_rate_and_bound_are_alive():
    # 0.3 + rate * force * 0.1, between 0.25 - bound * 0.1 and 0.25 + bound * 0.1
    assert moved(0.5, rate=0.1) == pytest.approx(0.305)
    assert moved(0.5, rate=0.4) == pytest.approx(0.32)
    assert moved(90.0, bound=3.0) == pytest.approx(0.55)
    assert moved(90.0, bound=2.0) == pytest.approx(0.45)
    assert moved(-90.0, bound=2.0) == pytest.approx(0.05)
