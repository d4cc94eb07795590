"""What learns: a network with its losses, optimizer and schedule."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Batch = Mapping[str, Any]


class Losses(NamedTuple):
    """What one step yields.

    Attributes:
        terms: The weighted terms of the objective by name; their sum is minimised.
        watched: Further numbers for the log.
    """

    terms: Mapping[str, Tensor]
    watched: Mapping[str, Tensor]


class Learner(NamedTuple):
    """What learns, and how.

    Attributes:
        model: Trained in place.
        losses_of: Losses of the model on a batch at a step, from 0.
        optimizer: Of the model's parameters.
        schedule: Advanced once per step.
    """

    model: nn.Module
    losses_of: Callable[[nn.Module, Batch, int], Losses]
    optimizer: Optimizer
    schedule: LRScheduler
