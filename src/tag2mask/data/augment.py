"""Random rescale, crop, mirror and colour jitter of an image and its maps together."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.random import Generator
from PIL import Image, ImageEnhance
from torch import Tensor


class Augmentation:
    """What is drawn at random for each training image.

    Args:
        crop: Side of the square that comes out, pixels.
        rescale: Least and greatest factor of the image's own size.
        colour_jitter: Greatest relative change of brightness, contrast, saturation.
        fill: Colour of padding, RGB in [0, 1]: the mean of the network's inputs.
    """

    def __init__(
        self,
        *,
        crop: int,
        rescale: tuple[float, float],
        colour_jitter: float,
        fill: Sequence[float],
    ) -> None:
        self._crop = crop
        self._rescale = rescale
        self._jitter = colour_jitter
        self._fill = tuple(round(255 * value) for value in fill)

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        maps: Sequence[UInt8[np.ndarray, "h w"]],
        fills: Sequence[int],
        rng: Generator,
    ) -> tuple[Float[Tensor, "3 c c"], list[UInt8[Tensor, "c c"]]]:
        """Return the augmented image in [0, 1] and its maps at the same place.

        Args:
            image: RGB.
            maps: Label or support maps of the image's size; read by nearest pixel.
            fills: Value of each map where padding shows.
            rng: The only source of chance.
        """
        height, width = image.shape[:2]
        factor = rng.uniform(*self._rescale)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        left, top = (self._offset(side, rng) for side in size)
        mirrored = rng.random() < 0.5
        picture = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        picture = self._jittered(self._visible(picture, (left, top)), rng)
        corner = min(left, 0), min(top, 0)
        pixels = np.array(self._cut(picture, corner, self._fill))
        cut = [
            np.array(
                self._cut(
                    Image.fromarray(each).resize(size, Image.Resampling.NEAREST),
                    (left, top),
                    fill,
                )
            )
            for each, fill in zip(maps, fills, strict=True)
        ]
        if mirrored:
            pixels, cut = pixels[:, ::-1], [each[:, ::-1] for each in cut]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return tensor.float() / 255, [
            torch.from_numpy(np.ascontiguousarray(each)) for each in cut
        ]

    def _offset(self, side: int, rng: Generator) -> int:
        """Draw where the crop begins; negative where the image is smaller."""
        slack = side - self._crop
        return int(rng.integers(min(0, slack), max(0, slack) + 1))

    def _visible(self, picture: Image.Image, corner: tuple[int, int]) -> Image.Image:
        """Cut off what the crop does not show; padding must keep its colour."""
        left, top = (max(0, offset) for offset in corner)
        right = min(picture.width, left + self._crop)
        bottom = min(picture.height, top + self._crop)
        return picture.crop((left, top, right, bottom))

    def _cut(
        self,
        picture: Image.Image,
        corner: tuple[int, int],
        fill: int | tuple[int, ...],
    ) -> Image.Image:
        left, top = corner
        canvas = Image.new(picture.mode, (self._crop, self._crop), fill)
        canvas.paste(picture, (-left, -top))
        return canvas

    def _jittered(self, picture: Image.Image, rng: Generator) -> Image.Image:
        if not self._jitter:
            return picture
        factors = 1 + self._jitter * rng.uniform(-1, 1, 3)
        kinds = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
        for kind, factor in zip(kinds, factors, strict=True):
            picture = kind(picture).enhance(max(0.0, float(factor)))
        return picture
