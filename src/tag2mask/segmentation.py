"""What a model says of one image, to be looked at and saved."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.artifacts.files import whole_file
from tag2mask.functional.palette import voc_palette

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The classes of an image's pixels.

    Attributes:
        labels: Class id of each pixel, uint8 "h w"; 255 is unlabelled.
        class_names: By class id, background first.
        image: The pixels that were seen, RGB uint8 "h w 3".
        palette: Red, green and blue in 0..255 by class id; VOC's colours unless given.
    """

    labels: NDArray[np.uint8]
    class_names: tuple[str, ...]
    image: NDArray[np.uint8]
    palette: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        if self.labels.shape != self.image.shape[:2]:
            raise ValueError(
                f"labels of {self.labels.shape} pixels do not belong to an image of "
                f"{self.image.shape[:2]}"
            )
        if not self.palette:
            colours = class_colours(len(self.class_names))
            object.__setattr__(self, "palette", colours)

    def areas(self) -> dict[str, float]:
        """Return each class's share of the pixels in percent, 0 where there is none.

        Unlabelled pixels are of no class: with them the shares do not add up to 100.
        """
        counts = np.bincount(self.labels.ravel(), minlength=256)
        return {
            name: 100 * float(counts[number]) / self.labels.size
            for number, name in enumerate(self.class_names)
        }

    def overlay(self, opacity: float = 0.5) -> Image.Image:
        """Return the image with its classes coloured; background stays as it is.

        Args:
            opacity: Of the colours, 0..1.

        Raises:
            ValueError: If the opacity is outside 0..1.
        """
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity: expected 0..1, got {opacity}")
        colours = np.zeros((256, 3))
        colours[: len(self.palette)] = self.palette
        mixed = (1 - opacity) * self.image + opacity * colours[self.labels]
        is_shown = (self.labels > 0) & (self.labels < len(self.class_names))
        return Image.fromarray(
            np.where(is_shown[..., None], mixed.round(), self.image).astype(np.uint8)
        )

    def save(self, path: Path | str) -> None:
        """Write the labels as an index PNG with the palette, whole or not at all.

        Raises:
            ValueError: If the file is not named ``.png``.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ValueError(f"labels are saved as PNG; name {path.name} so")
        picture = Image.fromarray(self.labels)
        colours = [value for colour in self.palette for value in colour]
        # all 256, since Pillow packs fewer into fewer bits, where 255 has no place
        picture.putpalette(colours + voc_palette()[len(colours) :])
        with whole_file(path) as scratch:
            picture.save(scratch, format="PNG", compress_level=1)


def class_colours(num_classes: int) -> tuple[Colour, ...]:
    """Return PASCAL VOC's colours by class id, as label maps are stored with."""
    values = voc_palette(num_classes)
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return tuple(triples)
