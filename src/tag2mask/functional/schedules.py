"""Learning rate multipliers as functions of the step.

``LambdaLR`` asks for step 0 before the first update and for step ``steps - 1`` before
the last: the first update runs at full rate (or at the first rung of the warm-up), the
last one just above ``minimum``, and only from step ``steps`` on is it ``minimum``.
"""

import math


def poly(
    step: int,
    *,
    steps: int,
    power: float = 0.9,
    warmup: int = 0,
    minimum: float = 0.0,
) -> float:
    """Fall from 1 as ``(1 - progress) ^ power``, a straight line at power 1.

    Args:
        step: Updates done so far; from ``steps`` on the factor is ``minimum``.
        steps: Updates in all, those of the warm-up included.
        power: Bend of the curve; the smaller, the longer the rate stays high.
        warmup: Updates spent rising in equal rungs, from ``1 / (warmup + 1)`` to
            full rate at step ``warmup``; what follows is spread over the rest.
        minimum: Factor at the end: 0.02 takes a rate of 5e-3 down to 1e-4.

    Raises:
        ValueError: If a step count is negative, ``warmup`` leaves no step, ``power``
            is not above zero or ``minimum`` is outside [0, 1].
    """
    if power <= 0:
        raise ValueError(f"power must be above 0, got {power}")
    _check(step, steps, warmup, minimum)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    remaining = 1 - _progress(step, steps, warmup)
    return minimum + (1 - minimum) * math.pow(remaining, power)


def cosine(step: int, *, steps: int, warmup: int = 0, minimum: float = 0.0) -> float:
    """Fall from 1 along half a cosine wave, slowly at both ends.

    Args:
        step: Updates done so far; from ``steps`` on the factor is ``minimum``.
        steps: Updates in all, those of the warm-up included.
        warmup: Updates spent rising in equal rungs, from ``1 / (warmup + 1)`` to
            full rate at step ``warmup``; what follows is spread over the rest.
        minimum: Factor at the end.

    Raises:
        ValueError: If a step count is negative, ``warmup`` leaves no step or
            ``minimum`` is outside [0, 1].
    """
    _check(step, steps, warmup, minimum)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    wave = (1 + math.cos(math.pi * _progress(step, steps, warmup))) / 2
    return minimum + (1 - minimum) * wave


def _progress(step: int, steps: int, warmup: int) -> float:
    """Share of the updates after the warm-up that are done, at most 1."""
    return min(1.0, (step - warmup) / (steps - warmup))


def _check(step: int, steps: int, warmup: int, minimum: float) -> None:
    """Refuse what has no place on the curve."""
    if step < 0:
        raise ValueError(f"step must not be negative, got {step}")
    if not 0 <= warmup < steps:
        raise ValueError(
            f"warmup must be at least 0 and below steps ({steps}), got {warmup}"
        )
    if not 0 <= minimum <= 1:
        raise ValueError(f"minimum must lie between 0 and 1, got {minimum}")
