"""Networks over many images: scales, mirrors, and batches of one size."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from tag2mask.artifacts.tables import ImageRecord
from tag2mask.functional.cam import class_activation, merge_views, normalise_cams

Network = Callable[[Tensor], Tensor]
PIXELS_PER_BATCH = {"cpu": 1, "cuda": 4_000_000}
"""Of what networks see at once: on a CPU an image, since threads share the images, and
batches in each are no faster."""


def batches_by_size(
    images: Sequence[ImageRecord], *, pixels: int
) -> Iterator[tuple[ImageRecord, ...]]:
    """Group images of one size, at most ``pixels`` pixels a batch, at least one image.

    The grouping depends on nothing but the images, so that a resumed run computes the
    same batches.
    """

    def size(image: ImageRecord) -> tuple[int, int]:
        return image.height, image.width

    for (height, width), group in groupby(sorted(images, key=size), key=size):
        members = iter(group)
        most = max(1, pixels // (height * width))
        while batch := tuple(islice(members, most)):
            yield batch


def to_batch(
    images: Sequence[UInt8[Tensor, "h w 3"]], device: torch.device
) -> Float[Tensor, "b 3 h w"]:
    """Stack RGB images of one size as floats in [0, 1], channels last in memory."""
    pixels = torch.stack(list(images)).to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def views(
    images: Float[Tensor, "b 3 h w"], *, scales: Sequence[float], flip: bool
) -> Iterator[tuple[Float[Tensor, "b 3 sh sw"], bool]]:
    """Yield the images at each scale, and mirrored, with whether they are mirrored."""
    for scale in scales:
        size = [max(1, round(side * scale)) for side in images.shape[-2:]]
        view = images
        if size != list(images.shape[-2:]):
            view = functional.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=scale < 1
            )
        view = view.contiguous(memory_format=torch.channels_last)
        yield view, False
        if flip:
            mirrored = view.flip(-1).contiguous(memory_format=torch.channels_last)
            yield mirrored, True


@torch.inference_mode()
def activation_maps(
    logit_maps: Network,
    images: Float[Tensor, "b 3 h w"],
    *,
    scales: Sequence[float],
    flip: bool,
    contrast: bool = False,
    stride: int,
) -> Float[Tensor, "b t gh gw"]:
    """Return every tag's activation map: ReLU of raw logits, views summed.

    Args:
        logit_maps: From images to logit maps of any size.
        images: RGB in [0, 1], all of one size.
        scales: Factors of that size.
        flip: Add the mirror image of each scale.
        contrast: See ``functional.cam.class_activation``.
        stride: Pixels of the image per pixel of the maps, rounded up.

    Returns:
        In [0, 1]: each map over its own maximum.
    """
    height, width = images.shape[-2:]
    grid = -(-height // stride), -(-width // stride)
    pairs = list(views(images, scales=scales, flip=flip))
    maps = [
        class_activation(logit_maps(view).float(), contrast=contrast)
        for view, _ in pairs
    ]
    merged = merge_views(maps, is_mirrored=[m for _, m in pairs], size=grid)
    return normalise_cams(merged)


@torch.inference_mode()
def class_logits(
    network: Network,
    images: Float[Tensor, "b 3 h w"],
    *,
    scales: Sequence[float],
    flip: bool,
) -> Float[Tensor, "b k h w"]:
    """Return logits at the images' size, averaged over scales and mirrors."""
    size = (images.shape[-2], images.shape[-1])
    total = None
    count = 0
    for view, mirrored in views(images, scales=scales, flip=flip):
        logits = network(view).float()
        logits = logits.flip(-1) if mirrored else logits
        logits = functional.interpolate(
            logits, size, mode="bilinear", align_corners=False
        )
        total = logits if total is None else total.add_(logits)
        count += 1
    if total is None:
        raise ValueError("scales must name at least one scale, got none")
    return total.div_(count)
