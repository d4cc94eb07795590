"""Optimisers with a faster head, and schedules that are pure functions of the step."""

from typing import Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tag2mask.functional.schedules import cosine, poly


def make_optimizer(
    model: nn.Module,
    *,
    kind: Literal["sgd", "adamw"],
    learning_rate: float,
    head_factor: float,
    momentum: float,
    weight_decay: float,
) -> Optimizer:
    """Return an optimiser with a group of its own for the ``head`` of ``model``.

    Args:
        model: May have a part ``head``; frozen parameters take no part.
        kind: SGD, or AdamW with its usual moments.
        learning_rate: Of everything but the head.
        head_factor: Learning rate of the head over that of the rest.
        momentum: Of SGD.
        weight_decay: Of both groups.
    """
    body: list[nn.Parameter] = []
    head: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (head if name.startswith("head.") else body).append(parameter)
    groups = [
        {"params": body, "lr": learning_rate},
        {"params": head, "lr": learning_rate * head_factor},
    ]
    groups = [group for group in groups if group["params"]]
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
) -> LambdaLR:
    """Return the schedule of all learning rates; see ``functional.schedules``."""
    warmup = min(warmup, steps - 1)  # of a run made shorter than its warm-up

    def factor(step: int) -> float:
        if kind == "poly":
            return poly(step, steps=steps, power=power, warmup=warmup)
        return cosine(step, steps=steps, warmup=warmup)

    return LambdaLR(optimizer, factor)
