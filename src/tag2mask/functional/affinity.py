"""What IRNet learns from labels: boundaries by way of pairs of near pixels.

Ahn, Cho and Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
Relations" (CVPR 2019), with the sums of its public code. No pixel is ever labelled a
boundary: if two near pixels have different labels there must be one between them, if
they have the same label there must be none.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from tag2mask.functional.neighbourhood import Pair, pairs_within
from tag2mask.functional.precision import at_least_float32
from tag2mask.functional.shapes import BACKGROUND, IGNORE


def labels_above(
    cams: Float[Tensor, "t h w"], class_ids: Sequence[int], *, threshold: float
) -> UInt8[Tensor, "h w"]:
    """Label a pixel by its strongest tag if that is at least at the threshold.

    The others are background. A tie goes to the earlier map; without tags all is
    background.

    Args:
        cams: Activation maps in [0, 1], one per tag of the image.
        class_ids: The class that each map stands for.
        threshold: In the unit of the maps.

    Raises:
        ValueError: If there is not one id for each map.
    """
    if len(class_ids) != len(cams):
        raise ValueError(
            f"expected one class id per map ({len(cams)}), got {len(class_ids)}"
        )
    if not class_ids:
        return torch.zeros(cams.shape[1:], dtype=torch.uint8, device=cams.device)
    best, winner = cams.max(dim=0)
    ids = torch.tensor(class_ids, dtype=torch.uint8, device=cams.device)
    return ids[winner] * (best >= threshold)


def join_confident(
    foreground: UInt8[Tensor, "h w"], background: UInt8[Tensor, "h w"]
) -> UInt8[Tensor, "h w"]:
    """Keep what is confident of two label maps; ``IGNORE`` (255) elsewhere [peer].

    Args:
        foreground: Made so that an object in it is surely one: its objects are kept.
        background: Made so that background in it is surely background: it is kept where
            both have it.
    """
    joined = torch.where(background == BACKGROUND, BACKGROUND, IGNORE)
    return torch.where(foreground == BACKGROUND, joined, foreground).to(torch.uint8)


def sample_labels(
    labels: UInt8[Tensor, "b h w"], *, size: tuple[int, int], stride: int
) -> UInt8[Tensor, "b sh sw"]:
    """Read labels at the centres of the cells of a coarser grid.

    Args:
        labels: Class ids, or ``IGNORE``.
        size: Rows and columns of the grid; a cell that is only partly covered counts.
        stride: Pixels per cell; of an even number of them the later middle one is read.
    """
    rows, columns = (
        (torch.arange(count, device=labels.device) * stride + stride // 2).clamp_max(
            side - 1
        )
        for count, side in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows[:, None], columns]


class AffinityLoss(NamedTuple):
    """Means of the negative log likelihood over pairs of each kind; 0 if there is none.

    Attributes:
        foreground: Pairs of one object class, which have no boundary between them.
        background: Pairs of background, likewise.
        negative: Pairs of two classes, which have one.
    """

    foreground: Float[Tensor, ""]
    background: Float[Tensor, ""]
    negative: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The sum of the code: ``((foreground + background) / 2 + negative) / 2``."""
        return ((self.foreground + self.background) / 2 + self.negative) / 2


def affinity_loss(
    logits: Float[Tensor, "b h w"], labels: UInt8[Tensor, "b h w"], *, radius: int
) -> AffinityLoss:
    """Compare boundaries with labels (IRNet, eq. 3 and 9).

    The affinity of a pair is 1 minus the strongest boundary on its path, ends included,
    ``1 - max sigmoid(logit)``. Its logarithm, and that of 1 minus it, are computed from
    the logit, so that neither is ever infinite. Pairs with ``IGNORE`` (255) do not
    count.

    Args:
        logits: Of a boundary at each pixel.
        labels: Class ids or ``IGNORE``, of the same size.
        radius: Pairs lie nearer than this, in pixels, at least 1.
    """
    logits = at_least_float32(logits)
    sums, counts = logits.new_zeros(3), logits.new_zeros(3)
    for window in _windows(labels.shape[-2:], radius):
        path = [window.at(logits, *place) for place in window.pair.path.tolist()]
        kinds = _kinds(window, labels)
        highest = torch.stack(path).amax(dim=0)
        # -log(1 - sigmoid(x)) is softplus(x), -log(sigmoid(x)) is softplus(-x)
        cost = functional.softplus(torch.where(kinds[2], -highest, highest))
        sums = sums + (kinds * cost).sum(dim=(1, 2, 3))
        counts = counts + kinds.sum(dim=(1, 2, 3))
    return AffinityLoss(*(sums / counts.clamp_min(1)))


class DisplacementLoss(NamedTuple):
    """Mean errors in pixels and coordinate over pairs of each kind; 0 if there is none.

    Attributes:
        foreground: Pairs of one object class.
        background: Pairs of background.
    """

    foreground: Float[Tensor, ""]
    background: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """Half of the sum, as in the code."""
        return (self.foreground + self.background) / 2


def displacement_loss(
    displacement: Float[Tensor, "b 2 h w"],
    labels: UInt8[Tensor, "b h w"],
    *,
    radius: int,
) -> DisplacementLoss:
    """Compare differences of displacements with those of places (IRNet, eq. 5-8).

    Two pixels of an object that both point to one centre have displacements that differ
    by their own distance; those of background are to be equal.

    Args:
        displacement: Rows and columns from each pixel to the centre of its object.
        labels: As of ``affinity_loss``.
        radius: Likewise.
    """
    displacement = at_least_float32(displacement)
    sums, counts = displacement.new_zeros(2), displacement.new_zeros(2)
    for window in _windows(labels.shape[-2:], radius):
        offset = displacement.new_tensor(window.pair.offset.tolist())
        kinds = _kinds(window, labels)[:2]
        difference = window.at(displacement, 0, 0) - window.end(displacement)
        errors = torch.stack([difference - offset[:, None, None], difference]).abs()
        sums = sums + (kinds * errors.mean(dim=2)).sum(dim=(1, 2, 3))
        counts = counts + kinds.sum(dim=(1, 2, 3))
    return DisplacementLoss(*(sums / counts.clamp_min(1)))


class _Window(NamedTuple):
    """Where the first pixel of a pair may lie, so that the second is in the image."""

    pair: Pair
    rows: tuple[int, int]
    columns: tuple[int, int]

    def at(self, maps: Tensor, down: int, right: int) -> Tensor:
        """Return the maps as each first pixel sees them so far down and right."""
        rows, columns = (
            slice(first + shift, last + shift)
            for (first, last), shift in ((self.rows, down), (self.columns, right))
        )
        return maps[..., rows, columns]

    def end(self, maps: Tensor) -> Tensor:
        """Return the maps at each second pixel."""
        return self.at(maps, *self.pair.offset.tolist())


def _windows(size: Sequence[int], radius: int) -> Iterator[_Window]:
    height, width = size
    for pair in pairs_within(radius):
        down, right = pair.offset.tolist()
        rows, columns = (0, height - down), (max(0, -right), width - max(0, right))
        if rows[0] < rows[1] and columns[0] < columns[1]:
            yield _Window(pair, rows, columns)


def _kinds(
    window: _Window, labels: UInt8[Tensor, "b h w"]
) -> Bool[Tensor, "3 b wh ww"]:
    """Say of each pair: is it of one object, of background, or of two classes."""
    begin, end = window.at(labels, 0, 0), window.end(labels)
    is_known = (begin != IGNORE) & (end != IGNORE)
    is_same, is_object = begin == end, begin != BACKGROUND
    return torch.stack([is_same & is_object, is_same & ~is_object, ~is_same]) & is_known
