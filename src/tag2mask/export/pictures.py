"""Images on which an exported model is compared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn
from torch.nn import functional

from tag2mask.engine.inference import to_batch
from tag2mask.errors import ModelError
from tag2mask.pictures import find_images, read_image

SIZES = ((97, 130), (256, 256), (33, 40), (288, 384))
"""Height and width of the generated images: even, odd, small, as photographs are."""
REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)
"""What a network raises about an input, and an exporter about a network."""
_MOST_IMAGES = 20
_PATCHES = 32


def choose_pictures(
    images: Sequence[Path], network: nn.Module
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Return the images to compare on.

    Args:
        images: Files or folders; the first 20 images count.
        network: Drawn images are of sizes that it takes: multiples of 32 where it
            takes no others.

    Raises:
        DatasetError: If an image cannot be read.
        ModelError: If it takes none that is drawn.
    """
    if images:
        files = list(find_images(images).values())[:_MOST_IMAGES]
        return [read_image(file) for file in files]
    even = [(_round_up(height), _round_up(width)) for height, width in SIZES]
    for sizes in (SIZES, even):
        drawn = [draw_picture(*size, random_seed=n) for n, size in enumerate(sizes)]
        if all(_takes(network, picture) for picture in drawn):
            return drawn
    raise ModelError(f"the network takes no images of {even} pixels; give --images")


def _round_up(side: int) -> int:
    """Return a multiple of every patch and stride that networks usually have."""
    return -(-side // _PATCHES) * _PATCHES


@torch.inference_mode()
def _takes(network: nn.Module, picture: UInt8[np.ndarray, "h w 3"]) -> bool:
    try:
        network(to_batch([torch.from_numpy(picture)], torch.device("cpu")))
    except (AssertionError, *REFUSALS):
        return False
    return True


def draw_picture(
    height: int, width: int, *, random_seed: int = 0
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a picture of slopes of all colours, which is what networks see."""
    rng = np.random.default_rng(random_seed)
    coarse = torch.from_numpy(rng.random((1, 3, 9, 12), np.float32))
    smooth = functional.interpolate(coarse, (height, width), mode="bicubic")
    pixels = (255 * smooth.clamp(0, 1)).to(torch.uint8)[0].permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())
