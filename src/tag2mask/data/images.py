"""Photographs of a data set, with errors that name the file."""

import numpy as np
from jaxtyping import UInt8

from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.errors import DatasetError
from tag2mask.pictures import SUFFIXES, decode_image, image_files, is_image, read_image

__all__ = [
    "SUFFIXES",
    "decode_image",
    "image_files",
    "is_image",
    "read_image",
    "read_indexed",
]

_CHANGED = (
    "it has changed since it was indexed: put the old file back, or run the recipe "
    "again to index the images anew"
)


def read_indexed(index: Index, image: ImageRecord) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of an image of an index, as ``read_image`` does.

    Raises:
        DatasetError: If it cannot be read any more or is of another size than it was.
    """
    path = index.path(image)
    try:
        pixels = read_image(path)
    except DatasetError as error:
        raise DatasetError(f"{error}; {_CHANGED}") from None
    height, width, _ = pixels.shape
    if (width, height) != (image.width, image.height):
        raise DatasetError(
            f"{path} is {width}x{height} pixels, expected {image.width}x"
            f"{image.height}; {_CHANGED}"
        )
    return pixels
