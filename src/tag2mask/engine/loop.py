"""The one training loop: classifiers and segmenters use it (on Lightning Fabric)."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from tag2mask._torchvision import import_torchvision
from tag2mask.data.sampling import Tickets, batches
from tag2mask.engine.checkpoint import CHECKPOINT, resume, save
from tag2mask.engine.learner import Batch, Learner, Losses
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.engine.training_log import TrainingLog
from tag2mask.errors import Tag2MaskError, TrainingError

import_torchvision()
from lightning_fabric import Fabric  # noqa: E402  (needs the guard)

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

__all__ = ["CHECKPOINT", "Batch", "Learner", "Length", "Losses", "fit"]

_REPORTS = 50
_LESS_MEMORY = (
    "raise accumulate, lower batch or crop, raise output_stride, or set precision = "
    "'bf16'"
)
_MOST_LOADERS = 8  # more fill the shared memory of a container and bring nothing


class Length(NamedTuple):
    """How long and how finely.

    Attributes:
        steps: Total, those before an interruption included.
        batch: Samples per step.
        clip_norm: Greatest norm of the gradient; None does not clip.
        precision: Of the forward pass: ``32`` or ``bf16``.
        accumulate: Equal parts of a batch that are computed one after the other. The
            mean of their losses is minimised, which is the loss of the whole batch
            where that is a mean over images, or over pixels of which each part has as
            many, and where no batch norm learns; parts hold a fraction of the memory.
    """

    steps: int
    batch: int
    clip_norm: float | None
    precision: Literal["32", "bf16"]
    accumulate: int = 1


@explain_full_memory(_LESS_MEMORY)
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
    mean of every loss between two rows. The caller removes the checkpoint. A damaged
    checkpoint is told and dropped, and the training begins again.

    Raises:
        TrainingError: If a loss or a gradient is not finite, naming it and the step;
            or if the device's memory is full.
    """
    update = _Update(learner, length, runtime)
    done = resume(folder / CHECKPOINT, learner, say=runtime.progress.say)
    update.model.train()
    every = max(1, length.steps // _REPORTS)
    means = _Means()
    with (
        runtime.progress.task("train", length.steps, done=done) as advance,
        TrainingLog(folder, done=done, tensorboard=runtime.tensorboard) as log,
    ):
        loaded = update.batches(
            tickets, first=done, workers=min(runtime.workers - 1, _MOST_LOADERS)
        )
        for step, batch in enumerate(loaded, done + 1):
            rate = float(learner.schedule.get_last_lr()[0])
            means.add(update(batch, step))
            if step % every == 0 or step == length.steps:
                log.write(step, means.take() | {"learning_rate": rate})
                save(folder / CHECKPOINT, learner, step)
            advance(1)


class _Update:
    """One step of the optimiser after the other."""

    def __init__(self, learner: Learner, length: Length, runtime: Runtime) -> None:
        self._learner = learner
        self._length = length
        self._fabric = Fabric(
            accelerator=runtime.device.type,
            devices=1,
            precision="bf16-mixed" if length.precision == "bf16" else "32-true",
        )
        learner.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self._optimizer = self._fabric.setup(
            learner.model, learner.optimizer
        )

    def batches(self, tickets: Tickets, *, first: int, workers: int) -> Iterator[Batch]:
        """Yield the batches from a step on, where the model is."""
        loader = batches(
            tickets,
            first=first,
            last=self._length.steps,
            batch=self._length.batch,
            workers=max(0, workers),
            pin_memory=self._fabric.device.type == "cuda",
        )
        try:
            yield from cast(Iterable[Batch], self._fabric.setup_dataloaders(loader))
        except Tag2MaskError as error:
            # a process that loads sends its traceback as the message
            message = str(error).rpartition(f"{type(error).__name__}: ")[2]
            raise type(error)(message.strip()) from None

    def __call__(self, batch: Batch, step: int) -> dict[str, float]:
        """Make one step and return its losses and what else is watched."""
        clip_norm = self._length.clip_norm
        self._optimizer.zero_grad(set_to_none=True)
        means = _Means()
        for part in _parts(batch, self._length.accumulate):
            means.add(self._learn(part, step))
        values = means.take()
        if clip_norm is not None:
            norm = self._fabric.clip_gradients(
                self.model,
                self._optimizer,
                max_norm=clip_norm,
                error_if_nonfinite=False,  # its message names no step
            )
            values["gradient_norm"] = float(norm)  # type: ignore[arg-type]
            _refuse_infinite("the gradient's norm", values["gradient_norm"], step)
        self._optimizer.step()
        self._learner.schedule.step()
        return values

    def _learn(self, batch: Batch, step: int) -> dict[str, float]:
        """Add the gradient of a part of a batch; return what it yields."""
        losses = self._learner.losses_of(self.model, batch, step - 1)
        total = torch.stack(list(losses.terms.values())).sum()
        # first, since reading waits for a GPU, which then has this to do
        self._fabric.backward(total / self._length.accumulate)
        values = _read({**losses.terms, **losses.watched})
        for name in losses.terms:
            _refuse_infinite(f"loss {name!r}", values[name], step)
        return values


class _Means:
    """Means of named numbers; each over the steps in which it was named."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._values[name].append(value)

    def take(self) -> dict[str, float]:
        """Return the means and begin anew."""
        means = {name: sum(each) / len(each) for name, each in self._values.items()}
        self._values.clear()
        return means


def _parts(batch: Batch, count: int) -> Iterator[Batch]:
    """Cut every tensor of a batch into equal parts."""
    if count == 1:
        yield batch
        return
    cut = {name: values.chunk(count) for name, values in batch.items()}
    for number in range(count):
        yield {name: parts[number] for name, parts in cut.items()}


def _read(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Read numbers off the device, all at once: each reading waits for it."""
    stacked = torch.stack([value.detach().float() for value in tensors.values()])
    return dict(zip(tensors, stacked.tolist(), strict=True))


def _refuse_infinite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"{name} is {value} at step {step}; lower learning_rate, or set clip_norm "
            f"or precision = '32'"
        )
