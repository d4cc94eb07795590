"""The gate of background prompts, with a threshold per class that adapts."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from tag2mask.functional.background_gate import (
    Motion,
    drift,
    move_thresholds,
    pass_above,
)

GateMode = Literal["adaptive", "quantile", "fixed"]

MOTION = Motion()
ONE_SIDED = 0.005
"""A gate that lets less than this share of prompts pass, or of them fail, is idle."""
_MEMORY = 100
"""Batches of a class that its running numbers reach back to."""
_SMALLEST_DEVIATION = 1e-4
"""In cosines; keeps the sigmoid's width above zero where all similarities agree."""


class GateReading(NamedTuple):
    """Means over the classes seen so far (0 before the first), for a log."""

    theta: Float[Tensor, ""]
    passing: Float[Tensor, ""]


class IdleClasses(NamedTuple):
    """Classes at which the gate decides nothing, in ascending order.

    Attributes:
        closed: No prompt passes: no background is suppressed.
        opened: All pass: backgrounds that are not there are suppressed, too.
    """

    closed: tuple[int, ...]
    opened: tuple[int, ...]


class SuppressionGate(nn.Module):
    """Choose background prompts by a threshold theta per class (CA-CL, eq. 10-11).

    In training mode each call also learns from what it is shown, after it has gated
    it; in evaluation mode it only gates. No parameter: an optimiser's momentum, weight
    decay and clipping leave theta alone. The state is in buffers, so that a training
    resumes from a checkpoint with the same bits.

    - ``adaptive`` is eq. 11 made to work: theta drifts up as the gradient of the loss
      has it (``functional.background_gate.drift``), and is pulled back in proportion to
      what is missing from the share that should pass. Where both balance, fewer pass
      the closer the backgrounds are: ``1 - quantile`` less ``drift / pull``.
    - ``quantile`` leaves the drift out: theta is the running quantile of the class's
      similarities. It asks nothing of an image-text model's range of cosines.
    - ``fixed`` never moves, as in CLIMS.

    Args:
        num_classes: Object classes.
        mode: See above.
        theta: Where all classes start, a cosine: 0.26 for PASCAL VOC and 0.285 for COCO
            with CLIP ViT-B/32 (CLIMS). None, not for ``fixed``, starts a class at the
            normal quantile of the first similarities that it shows; before that no
            prompt below 1 passes.
        quantile: Share of prompts that should not pass, between 0 and 1.
        motion: How theta moves; ``quantile`` reads ``rate`` and ``bound`` only.

    Raises:
        ValueError: If an argument is out of range, or ``fixed`` has no theta.
    """

    theta: Tensor
    mean: Tensor
    variance: Tensor
    passing: Tensor
    num_batches: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        mode: GateMode = "adaptive",
        theta: float | None = None,
        quantile: float = 0.8,
        motion: Motion = MOTION,
    ) -> None:
        super().__init__()
        _check(mode, theta, quantile, motion)
        self.mode = mode
        self._starts_at_quantile = theta is None
        self._quantile = quantile
        self._motion = motion
        self.register_buffer(
            "theta", torch.full((num_classes,), 1.0 if theta is None else theta)
        )
        for name in ("mean", "variance", "passing"):
            self.register_buffer(name, torch.zeros(num_classes))
        self.register_buffer("num_batches", torch.zeros(num_classes, dtype=torch.int64))

    def forward(
        self, similarities: Float[Tensor, "p l"], classes: Int64[Tensor, "p"]
    ) -> Float[Tensor, "p l"]:
        """Return 1 where a prompt passes, else 0, float32 and without gradient.

        Args:
            similarities: Of each pair's foreground to the background prompts of its
                class; any precision, l at least 1.
            classes: Of each pair, from 0.
        """
        with torch.no_grad():
            s = similarities.float()
            if not self.training:
                return self._gate(s, classes)
            members = classes == torch.arange(
                len(self.theta), device=classes.device
            ).unsqueeze(1)
            newest = self._observe(s, classes, members)
            gate = self._gate(s, classes)
            share = gate.mean(dim=1)
            change = newest * (_mean_by_class(share, members) - self.passing)
            self.passing.add_(change)
            if self.mode != "fixed":
                self._move(s, share, classes, members)
            return gate

    def read(self) -> GateReading:
        """Return means over the classes, without waiting for the device."""
        seen = self.num_batches > 0
        num_seen = seen.sum().clamp_min(1)
        return GateReading(
            theta=torch.where(seen, self.theta, 0).sum() / num_seen,
            passing=torch.where(seen, self.passing, 0).sum() / num_seen,
        )

    def find_idle_classes(self) -> IdleClasses:
        """Name the classes, among those seen, at which all or nothing passes.

        Judged by the share of the last hundred batches or so that showed the class.
        """
        seen = self.num_batches > 0
        closed = seen & (self.passing < ONE_SIDED)
        opened = seen & (self.passing > 1 - ONE_SIDED)
        return IdleClasses(
            tuple(closed.nonzero().flatten().tolist()),
            tuple(opened.nonzero().flatten().tolist()),
        )

    @property
    def deviation(self) -> Float[Tensor, "k"]:
        """Standard deviation of each class's similarities."""
        return self.variance.sqrt().clamp_min(_SMALLEST_DEVIATION)

    def _gate(
        self, similarities: Float[Tensor, "p l"], classes: Int64[Tensor, "p"]
    ) -> Float[Tensor, "p l"]:
        width = self._motion.temperature * self.deviation[classes]
        return pass_above(similarities, self.theta[classes], width=width)

    def _observe(
        self,
        similarities: Float[Tensor, "p l"],
        classes: Int64[Tensor, "p"],
        members: Bool[Tensor, "k p"],
    ) -> Float[Tensor, "k"]:
        """Take the batch into the running numbers; return its weight in them."""
        seen = members.any(dim=1)
        first = seen & (self.num_batches == 0)
        self.num_batches.add_(seen)
        # the plain mean of all batches, until there are more than memory holds
        reach = self.num_batches.clamp(1, _MEMORY)
        newest = seen / reach
        batch_mean = _mean_by_class(similarities.mean(dim=1), members)
        spread = similarities - batch_mean[classes].unsqueeze(1)
        batch_variance = _mean_by_class(spread.square().mean(dim=1), members)
        away = batch_mean - self.mean
        # the variance of a mixture of the two, its parts apart by `away`
        self.variance.add_(newest * (batch_variance - self.variance))
        self.variance.add_(newest * (1 - newest) * away.square())
        self.mean.add_(newest * away)
        if self._starts_at_quantile:
            normal = torch.special.ndtri(torch.full_like(self.theta, self._quantile))
            start = self.mean + normal * self.deviation
            self.theta.copy_(torch.where(first, start, self.theta))
        return newest

    def _move(
        self,
        similarities: Float[Tensor, "p l"],
        share: Float[Tensor, "p"],
        classes: Int64[Tensor, "p"],
        members: Bool[Tensor, "k p"],
    ) -> None:
        force = share - (1 - self._quantile)
        if self.mode == "adaptive":
            force = self._motion.pull * force + drift(
                similarities,
                self.theta[classes],
                self.deviation[classes],
                temperature=self._motion.temperature,
            )
        moved = move_thresholds(
            self.theta,
            _mean_by_class(force, members),
            mean=self.mean,
            deviation=self.deviation,
            motion=self._motion,
        )
        self.theta.copy_(torch.where(members.any(dim=1), moved, self.theta))


def _mean_by_class(
    values: Float[Tensor, "p"], members: Bool[Tensor, "k p"]
) -> Float[Tensor, "k"]:
    """Mean of each class's pairs, 0 for a class without one.

    By a plain sum, whose order is the same in every run, unlike that of a scatter.
    """
    summed = torch.where(members, values, 0).sum(dim=1)
    return summed / members.sum(dim=1).clamp_min(1)


def _check(
    mode: GateMode, theta: float | None, quantile: float, motion: Motion
) -> None:
    if mode == "fixed" and theta is None:
        raise ValueError("a fixed gate needs theta, such as 0.26")
    if theta is not None and not math.isfinite(theta):
        raise ValueError(f"theta must be a number, got {theta}")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be between 0 and 1, got {quantile}")
    if min(motion.rate, motion.temperature, motion.bound) <= 0 or motion.pull < 0:
        raise ValueError(
            f"rate, temperature and bound must be above 0 and pull not below, "
            f"got {motion}"
        )
