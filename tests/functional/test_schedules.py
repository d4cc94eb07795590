import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.functional.schedules import cosine, poly

both = pytest.mark.parametrize("schedule", [poly, cosine])
law = settings(deadline=None, max_examples=30)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (poly(0, steps=4), 1.0),
        (poly(2, steps=4, power=2.0), 0.25),  # (1 - 1/2)^2
        (poly(3, steps=4, power=1.0), 0.25),  # the last update: 1/steps
        (poly(3, steps=4, power=0.5), 0.5),
        (poly(0, steps=4, warmup=1), 0.5),  # the first of two rungs
        (poly(1, steps=4, warmup=1), 1.0),
        (poly(3, steps=5, warmup=1, power=1.0), 0.5),  # 2 of 4 steps after warm-up
        (poly(2, steps=4, power=1.0, minimum=0.5), 0.75),  # half way to 0.5
        (cosine(0, steps=4), 1.0),
        (cosine(1, steps=3), 0.75),  # cos 60 degrees is 1/2
        (cosine(2, steps=4), 0.5),
        (cosine(2, steps=3), 0.25),  # the last update
        (cosine(0, steps=4, warmup=2), 1 / 3),
        (cosine(3, steps=4, warmup=2), 0.5),
        (cosine(2, steps=4, minimum=0.5), 0.75),
    ],
)
def test_factor_by_hand(factor, expected):
    assert factor == pytest.approx(expected)


@both
@law
@given(data=st.data())
def test_factor_rises_to_one_and_falls_to_the_minimum(schedule, data):
    steps = data.draw(st.integers(1, 20))
    warmup = data.draw(st.integers(0, steps - 1))
    minimum = data.draw(st.floats(0, 1))
    factors = [
        schedule(step, steps=steps, warmup=warmup, minimum=minimum)
        for step in range(steps + 1)
    ]
    rise, fall = factors[: warmup + 1], factors[warmup:]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert factors[warmup] == pytest.approx(1)
    assert factors[-1] == pytest.approx(minimum)
    assert factors[0] > 0


@both
def test_factor_stays_at_the_minimum_after_the_end(schedule):
    assert schedule(9, steps=4, minimum=0.25) == 0.25


def test_power_is_alive():
    assert poly(1, steps=4, power=0.9) != poly(1, steps=4, power=1.0)


def test_first_update_runs_at_full_rate_and_the_last_above_zero():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: poly(step, steps=4, power=1.0)
    )
    rates = []
    for _ in range(4):
        rates.extend(schedule.get_last_lr())
        optimiser.step()
        schedule.step()
    assert rates == [2.0, 1.5, 1.0, 0.5]


@both
@pytest.mark.parametrize(
    ("step", "knobs", "message"),
    [
        (-1, {}, "step must not be negative, got -1"),
        (0, {"warmup": 4}, r"below steps \(4\), got 4"),
        (0, {"warmup": -1}, r"at least 0 and below steps \(4\), got -1"),
        (0, {"minimum": 1.5}, "minimum must lie between 0 and 1, got 1.5"),
    ],
)
def test_what_has_no_place_on_the_curve_is_refused(schedule, step, knobs, message):
    with pytest.raises(ValueError, match=message):
        schedule(step, steps=4, **knobs)


def test_power_is_above_zero():
    with pytest.raises(ValueError, match=r"power must be above 0, got 0\.0"):
        poly(0, steps=4, power=0.0)
