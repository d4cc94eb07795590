"""The loss of a set of masks: each class of an image finds the query that shows it.

Mask2Former (Cheng et al., CVPR 2022): one query for each class that an image shows, the
others are taught "no object". Masks are compared at points, which are drawn from the
pixels whose label is believed: the others teach nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Generator, Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    grid_sample,
    softplus,
)

from tag2mask.functional.assignment import assign
from tag2mask.functional.precision import at_least_float32

CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT = 2.0, 5.0, 5.0
"""Of the three parts of cost and loss [paper]."""
NO_OBJECT_WEIGHT = 0.1
"""Of a query that shows nothing, in the loss of classes [paper]."""
OVERSAMPLING = 3
"""Points that are looked at for each point that is chosen [paper]."""
UNCERTAIN_SHARE = 0.75
"""Of the chosen points, those whose mask is least decided; the rest by chance."""


class Targets(NamedTuple):
    """What one image shows, at points.

    Attributes:
        classes: Those of the points, ascending.
        masks: 1 where a point is of the class, else 0.
        grid: The points as x, y in [-1, 1] across the image.
    """

    classes: Int64[Tensor, "t"]
    masks: Float[Tensor, "t p"]
    grid: Float[Tensor, "p 2"]


class SetLoss(NamedTuple):
    """The weighted parts of the loss of one layer; their sum is minimised."""

    classes: Float[Tensor, ""]
    masks: Float[Tensor, ""]
    dice: Float[Tensor, ""]


def draw_targets(
    labels: Integer[Tensor, "h w"],
    is_believed: Bool[Tensor, "h w"],
    *,
    num_points: int,
    generator: Generator,
) -> Targets:
    """Draw points evenly among the believed pixels of an image, with replacement.

    Args:
        labels: Class of each pixel.
        is_believed: Pixels to learn from; without any there are no points.
        num_points: How many to choose from, ``OVERSAMPLING`` times those that count.
        generator: Source of randomness, on the device of the labels.
    """
    places = is_believed.nonzero()
    if len(places) == 0:
        none = torch.zeros(0, 2, device=labels.device)
        return Targets(labels.new_zeros(0, dtype=torch.int64), none[:, :0].T, none)
    chosen = places[
        torch.randint(
            len(places), (num_points,), generator=generator, device=labels.device
        )
    ]
    # a class of few pixels is shown even where no point has met it
    classes = labels[is_believed].long().unique()
    masks = labels[chosen[:, 0], chosen[:, 1]].long() == classes[:, None]
    size = torch.tensor(labels.shape, device=labels.device)
    grid = ((chosen + 0.5) / size * 2 - 1).flip(1)
    return Targets(classes, masks.float(), grid)


def read_points(
    maps: Float[Tensor, "q h w"], grid: Float[Tensor, "p 2"]
) -> Float[Tensor, "q p"]:
    """Read maps of any size at points, between pixel centres, in float32 at least."""
    values = at_least_float32(maps)[None]
    points = grid.to(values.dtype)[None, None]
    read = grid_sample(values, points, padding_mode="border", align_corners=False)
    return read[0, :, 0]


def matching_costs(
    class_logits: Float[Tensor, "q classes"],
    mask_logits: Float[Tensor, "q p"],
    targets: Targets,
) -> Float[Tensor, "t q"]:
    """Return how ill each query shows each class (Mask2Former, eq. 3).

    ``-2 p(class) + 5 cross-entropy of the mask + 5 dice``, at the first points of the
    targets, as many as ``mask_logits`` has.
    """
    truth = targets.masks[:, : mask_logits.shape[1]]
    probabilities = at_least_float32(class_logits).softmax(dim=-1)
    wrong_class = -probabilities[:, targets.classes].T
    is_in, is_out = softplus(-mask_logits), softplus(mask_logits)
    wrong_mask = (truth @ is_in.T + (1 - truth) @ is_out.T) / mask_logits.shape[1]
    masks = mask_logits.sigmoid()
    total = truth.sum(dim=1)[:, None] + masks.sum(dim=1)
    dice = 1 - (2 * truth @ masks.T + 1) / (total + 1)
    return CLASS_WEIGHT * wrong_class + MASK_WEIGHT * wrong_mask + DICE_WEIGHT * dice


def choose_points(
    mask_logits: Float[Tensor, "t p"], *, num_points: int
) -> Int64[Tensor, "t n"]:
    """Return the points that each mask learns from: undecided ones and some others.

    Args:
        mask_logits: At points in random order.
        num_points: How many; three quarters are the least decided ones, the rest the
            first of all.
    """
    num_uncertain = round(UNCERTAIN_SHARE * num_points)
    undecided = mask_logits.abs().topk(num_uncertain, dim=1, largest=False).indices
    first = torch.arange(num_points - num_uncertain, device=mask_logits.device)
    return torch.cat([undecided, first.expand(len(mask_logits), -1)], dim=1)


def mask_losses(
    mask_logits: Float[Tensor, "t p"], truth: Float[Tensor, "t p"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return cross-entropy, a mean over points, and dice, each summed over masks.

    Dice is ``1 - (2 sum m t + 1) / (sum m + sum t + 1)``.
    """
    bits = binary_cross_entropy_with_logits(mask_logits, truth, reduction="none")
    masks = mask_logits.sigmoid()
    both = (masks * truth).sum(dim=1)
    dice = 1 - (2 * both + 1) / (masks.sum(dim=1) + truth.sum(dim=1) + 1)
    return bits.mean(dim=1).sum(), dice.sum()


def class_loss(
    class_logits: Float[Tensor, "n classes"], classes: Int64[Tensor, "n"]
) -> Float[Tensor, ""]:
    """Return the cross-entropy of queries, "no object" (the last class) counting less.

    A weighted mean; 0 without a query.
    """
    weights = torch.ones(class_logits.shape[1], device=class_logits.device)
    weights[-1] = NO_OBJECT_WEIGHT
    scores = at_least_float32(class_logits)
    summed = cross_entropy(scores, classes, weights.to(scores.dtype), reduction="sum")
    return summed / weights[classes].sum().clamp_min(NO_OBJECT_WEIGHT)


def set_loss(
    class_logits: Float[Tensor, "b q classes"],
    mask_logits: Float[Tensor, "b q h w"],
    targets: Sequence[Targets],
) -> SetLoss:
    """Return the loss of one layer's queries (Mask2Former, section 3.4).

    Masks are a mean over the targets of the batch, classes over its queries. An image
    without a believed pixel teaches nothing, not even "no object".

    Args:
        class_logits: Of each query, "no object" last.
        mask_logits: Of each query, at any size.
        targets: Of each image. More than there are queries leave some without one.
    """
    nothing = torch.zeros((), device=class_logits.device)
    shown: list[Tensor] = []
    wanted: list[Tensor] = []
    bits, dice = nothing, nothing
    for classes, masks, target in zip(class_logits, mask_logits, targets, strict=True):
        if len(target.classes) == 0:
            continue
        query, place = _match(classes, masks, target)
        answer = torch.full_like(classes[:, 0], classes.shape[1] - 1).long()
        answer[query] = target.classes[place]
        shown.append(classes)
        wanted.append(answer)
        found = read_points(masks[query], target.grid)
        num_points = found.shape[1] // OVERSAMPLING
        chosen = choose_points(found.detach(), num_points=num_points)
        truth = target.masks[place].gather(1, chosen)
        each = mask_losses(found.gather(1, chosen), truth)
        bits, dice = bits + each[0], dice + each[1]
    num_masks = max(1, sum(len(target.classes) for target in targets))
    said = class_loss(torch.cat(shown), torch.cat(wanted)) if shown else nothing
    return SetLoss(
        CLASS_WEIGHT * said,
        MASK_WEIGHT * bits / num_masks,
        DICE_WEIGHT * dice / num_masks,
    )


@torch.no_grad()
def _match(
    class_logits: Float[Tensor, "q classes"],
    mask_logits: Float[Tensor, "q h w"],
    targets: Targets,
) -> tuple[Int64[Tensor, "n"], Int64[Tensor, "n"]]:
    """Return the queries that show a target, and the places of what they show."""
    grid = targets.grid[: len(targets.grid) // OVERSAMPLING]
    costs = matching_costs(class_logits, read_points(mask_logits, grid), targets)
    is_wide = costs.shape[0] <= costs.shape[1]
    found = assign((costs if is_wide else costs.T).cpu().numpy())
    partner = torch.from_numpy(found).to(costs.device)
    own = torch.arange(len(partner), device=costs.device)
    return (partner, own) if is_wide else (own, partner)
