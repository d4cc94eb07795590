"""Optimisers with faster parts, and schedules that are pure functions of the step."""

from typing import Literal, NamedTuple

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.functional.schedules import cosine, poly


class RateFactors(NamedTuple):
    """Learning rates of some parameters over that of the rest.

    Attributes:
        head: Of the head.
        bias: Of what is named ``bias``, over that of the weights beside it; batch norms
            that train have such parameters too.
    """

    head: float
    bias: float = 1.0


def make_optimizer(
    model: nn.Module,
    *,
    kind: Literal["sgd", "adamw"],
    learning_rate: float,
    factors: RateFactors,
    momentum: float,
    weight_decay: float,
) -> Optimizer:
    """Return an optimiser with a group for each learning rate of ``model``.

    Args:
        model: May have parts ``neck`` and ``head``, which are its head; frozen
            parameters take no part.
        kind: SGD, or AdamW with its usual moments.
        learning_rate: Of weights that are not the head's.
        factors: Of the head and of biases.
        momentum: Of SGD.
        weight_decay: Of all groups.
    """
    rates = (learning_rate, learning_rate * factors.head)
    members: list[list[nn.Parameter]] = [[] for _ in range(4)]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_head = name.startswith(("neck.", "head."))
            is_bias = factors.bias != 1 and name.endswith("bias")
            members[2 * is_head + is_bias].append(parameter)
    groups = [
        {"params": each, "lr": rates[n // 2] * (1.0, factors.bias)[n % 2]}
        for n, each in enumerate(members)
        if each
    ]
    if kind == "sgd":
        return SGD(groups, momentum=momentum, weight_decay=weight_decay)
    return AdamW(groups, weight_decay=weight_decay)


def make_schedule(
    optimizer: Optimizer,
    *,
    kind: Literal["poly", "cosine"],
    steps: int,
    power: float,
    warmup: int,
    last_factor: float = 0.0,
) -> LambdaLR:
    """Return the schedule of all learning rates; see ``functional.schedules``.

    ``last_factor`` is the ``minimum`` of both.
    """
    warmup = min(warmup, steps - 1)  # of a run made shorter than its warm-up

    def factor(step: int) -> float:
        if kind == "poly":
            return poly(
                step, steps=steps, power=power, warmup=warmup, minimum=last_factor
            )
        return cosine(step, steps=steps, warmup=warmup, minimum=last_factor)

    return LambdaLR(optimizer, factor)
