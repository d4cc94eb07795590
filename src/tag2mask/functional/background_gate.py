"""Which background prompts a foreground is pushed away from (CA-CL, eq. 10-11).

A hard gate has no gradient in its threshold, so that eq. 11 by itself moves nothing;
the gradient of any soft one has one sign, so that it lifts the threshold until no
prompt passes. Here the gradient is that of a sigmoid, and a pull towards a share of
passing prompts holds it. All is measured in standard deviations of a class's
similarities, so that the same settings serve every image-text model.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tag2mask.functional.clip_losses import background_suppression


class Motion(NamedTuple):
    """How thresholds move; lengths in standard deviations of a class's similarities.

    Attributes:
        rate: Learning rate eta of (CA-CL, eq. 11), above 0. One step covers at most
            the rate times the force.
        pull: Weight of the pull towards the wanted share, not negative. 0 is eq. 11
            alone, which ends where nothing passes.
        temperature: Width of the sigmoid whose gradient stands for that of the gate,
            above 0.
        bound: Farthest that a threshold may be from the mean, above 0. A net for
            outliers: what holds the threshold is the pull.
    """

    rate: float = 0.1
    pull: float = 1.0
    temperature: float = 1.0
    bound: float = 3.0


def pass_above(
    similarities: Float[Tensor, "p l"],
    theta: Float[Tensor, "p"],
    *,
    width: Float[Tensor, "p"],
) -> Float[Tensor, "p l"]:
    """Gate ``t = [s >= theta]`` (CA-CL, eq. 10), straight through in theta.

    Backward, it is ``sigmoid((s - theta) / width)`` in theta and constant in s: the
    paper's t is an indicator, and a gradient in s would push most the foregrounds that
    happen to lie near the threshold, by a factor of the sigmoid's width.

    Args:
        similarities: Of each pair's foreground to the background prompts of its class.
        theta: Threshold of each pair's class; a similarity at it passes.
        width: Of the sigmoid, in cosines, above 0.

    Returns:
        1 or 0, float32 at least.
    """
    gap = similarities.detach() - theta.unsqueeze(1)
    soft = torch.sigmoid(gap / width.unsqueeze(1))
    return (gap >= 0).to(soft.dtype) + (soft - soft.detach())


def drift(
    similarities: Float[Tensor, "p l"],
    theta: Float[Tensor, "p"],
    deviation: Float[Tensor, "p"],
    *,
    temperature: float,
) -> Float[Tensor, "p"]:
    """How hard eq. 11 lifts each pair's threshold, never negative for s above 0.

    ``-dL/dtheta`` of the pair's mean of ``-t log(1 - s)`` over its prompts, theta
    measured in deviations.

    Args:
        similarities: See ``pass_above``.
        theta: See ``pass_above``.
        deviation: Standard deviation of the similarities of each pair's class.
        temperature: See ``Motion``.
    """
    num_prompts = max(1, similarities.shape[1])
    with torch.enable_grad():
        leaf = theta.detach().requires_grad_()
        gate = pass_above(similarities, leaf, width=temperature * deviation)
        loss = background_suppression(similarities.detach(), gate, num_images=1)
        (slope,) = torch.autograd.grad(loss / num_prompts, leaf)
    return -slope * deviation


def move_thresholds(
    theta: Float[Tensor, "k"],
    force: Float[Tensor, "k"],
    *,
    mean: Float[Tensor, "k"],
    deviation: Float[Tensor, "k"],
    motion: Motion,
) -> Float[Tensor, "k"]:
    """Make one step of ``rate * force`` deviations, within the bound (CA-CL, eq. 11).

    Args:
        theta: Threshold of each class.
        force: Upwards: ``drift`` and a pull.
        mean: Of the class's similarities.
        deviation: Their standard deviation.
        motion: Its ``rate`` and ``bound``.
    """
    reach = motion.bound * deviation
    moved = theta + motion.rate * force * deviation
    return torch.clamp(moved, min=mean - reach, max=mean + reach)
