"""The one training loop: classifiers and segmenters use it (on Lightning Fabric)."""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tag2mask._torchvision import import_torchvision
from tag2mask.artifacts.files import whole_file
from tag2mask.data.sampling import Tickets, batches
from tag2mask.engine.runtime import Runtime
from tag2mask.engine.training_log import TrainingLog
from tag2mask.errors import TrainingError

import_torchvision()
from lightning_fabric import Fabric  # noqa: E402  (needs the guard)

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

CHECKPOINT = "checkpoint.pt"
_REPORTS = 50

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


class Length(NamedTuple):
    """How long and how finely.

    Attributes:
        steps: Total, those before an interruption included.
        batch: Samples per step.
        clip_norm: Greatest norm of the gradient; None does not clip.
        precision: Of the forward pass: ``32`` or ``bf16``.
    """

    steps: int
    batch: int
    clip_norm: float | None
    precision: Literal["32", "bf16"]


def fit(
    learner: Learner,
    tickets: Tickets,
    length: Length,
    *,
    folder: Path,
    runtime: Runtime,
) -> None:
    """Minimise the sum of the named losses.

    Continues from ``checkpoint.pt`` in ``folder`` if there is one, and then ends with
    the same weights as an unbroken run (to the bit on a CPU). Writes ``log.csv``: the
    mean of every loss between two rows. The caller removes the checkpoint.

    Raises:
        TrainingError: If a loss is not finite, naming it and the step.
    """
    fabric = Fabric(
        accelerator=runtime.device.type,
        devices=1,
        precision="bf16-mixed" if length.precision == "bf16" else "32-true",
    )
    learner.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model, optimizer = fabric.setup(learner.model, learner.optimizer)
    checkpoint = folder / CHECKPOINT
    done = _resume(checkpoint, learner)
    model.train()
    every = max(1, length.steps // _REPORTS)
    log = TrainingLog(folder, done=done, tensorboard=runtime.tensorboard)
    sums: dict[str, float] = defaultdict(float)
    reported = done
    loader = batches(
        tickets,
        first=done,
        last=length.steps,
        batch=length.batch,
        workers=max(0, runtime.workers - 1),
    )
    with runtime.progress.task("train", length.steps) as advance, log:
        advance(done)
        for step, batch in enumerate(fabric.setup_dataloaders(loader), done + 1):
            losses = learner.losses_of(model, batch, step - 1)
            _check(losses.terms, step)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(torch.stack(list(losses.terms.values())).sum())
            if length.clip_norm is not None:
                norm = fabric.clip_gradients(
                    model, optimizer, max_norm=length.clip_norm
                )
                sums["gradient_norm"] += float(norm)  # type: ignore[arg-type]
            optimizer.step()
            rate = learner.schedule.get_last_lr()[0]
            learner.schedule.step()
            for name, value in {**losses.terms, **losses.watched}.items():
                sums[name] += value.item()
            if step % every == 0 or step == length.steps:
                means = {n: value / (step - reported) for n, value in sums.items()}
                log.write(step, means | {"learning_rate": float(rate)})
                sums.clear()
                reported = step
                _save(checkpoint, learner, step)
            advance(1)


def _check(terms: Mapping[str, Tensor], step: int) -> None:
    for name, loss in terms.items():
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"loss {name!r} is {value} at step {step}; lower learning_rate, or set "
                f"clip_norm or precision = '32'"
            )


def _resume(checkpoint: Path, learner: Learner) -> int:
    if not checkpoint.exists():
        return 0
    saved = torch.load(checkpoint, weights_only=True)
    learner.model.load_state_dict(saved["model"])
    learner.optimizer.load_state_dict(saved["optimizer"])
    learner.schedule.load_state_dict(saved["schedule"])
    torch.set_rng_state(saved["rng"])
    if torch.cuda.is_available() and saved["cuda_rng"]:
        torch.cuda.set_rng_state_all(saved["cuda_rng"])
    return int(saved["step"])


def _save(checkpoint: Path, learner: Learner, step: int) -> None:
    state = {
        "step": step,
        "model": learner.model.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": learner.schedule.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with whole_file(checkpoint) as scratch:
        torch.save(state, scratch)
