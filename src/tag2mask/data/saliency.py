"""A user's maps of what stands out in each image, drawn by some other program."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tag2mask.artifacts.files import digest
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.errors import DatasetError
from tag2mask.pictures import BOMBS, UNREADABLE, refuse_bomb

SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")
_GREY = ("L", "1")
_MOST_NAMES = 3


class SaliencyFolder:
    """A folder of grey pictures, one per image: 255 stands out, 0 does not.

    The map of an image ``a/b`` is ``a/b.png``, ``.jpg`` or ``.jpeg``, as large as the
    image once that is upright.

    Raises:
        DatasetError: If there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DatasetError(
                f"there is no folder of saliency maps {folder}; check the voter's "
                f"saliency.folder, a path below data.root"
            )
        self.folder = folder

    def find(self, name: str) -> Path | None:
        """Return the map of an image, None if there is none."""
        paths = (self.folder / f"{name}{suffix}" for suffix in SUFFIXES)
        return next((path for path in paths if path.is_file()), None)

    def require(self, names: Sequence[str]) -> None:
        """Refuse to go on if an image has no map.

        Raises:
            DatasetError: Naming the first such files.
        """
        lacking = [name for name in names if self.find(name) is None]
        if lacking:
            some = ", ".join(f"{name}.png" for name in lacking[:_MOST_NAMES])
            more = len(lacking) - _MOST_NAMES
            raise DatasetError(
                f"{self.folder} holds no saliency map {some}"
                f"{f' and {more} more' * (more > 0)}; every image of the train split "
                f"needs one, {', '.join(SUFFIXES)}"
            )

    def fingerprint(self, names: Iterable[str]) -> str:
        """Digest which images have a map, and the maps' sizes in bytes."""
        found = ((name, self.find(name)) for name in names)
        return digest([[name, p.name, p.stat().st_size] for name, p in found if p])

    def read(self, image: ImageRecord) -> UInt8[np.ndarray, "h w"]:
        """Read the map of one image.

        Raises:
            DatasetError: If it is missing, damaged, of another size or not grey,
                naming the file.
        """
        path = self.find(image.name)
        if path is None:
            raise DatasetError(
                f"{self.folder / image.name}.png: there is no such saliency map"
            )
        try:
            with Image.open(path, formats=_FORMATS) as picture:
                refuse_bomb(picture, Image.MAX_IMAGE_PIXELS)
                if picture.mode not in _GREY:
                    raise DatasetError(
                        f"{path}: expected a saliency map of 8-bit grey, got mode "
                        f"{picture.mode}; save it as grey"
                    )
                pixels = np.array(picture.convert("L"))
        except (*UNREADABLE, *BOMBS) as e:
            raise DatasetError(
                f"{path} cannot be read as a saliency map ({e}); replace it"
            ) from None
        height, width = pixels.shape
        if (width, height) != (image.width, image.height):
            raise DatasetError(
                f"{path}: the saliency map is {width}x{height} but belongs to "
                f"{image.width}x{image.height} pixels; they must be of one size"
            )
        return pixels
