"""Ground-truth masks: for scores, for the index's checks and for the ceiling only."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tag2mask.artifacts.files import digest
from tag2mask.artifacts.labels import read_index_png
from tag2mask.errors import ArtifactError, DatasetError
from tag2mask.functional.shapes import IGNORE

_MOST_IDS = 5


class MaskFolder:
    """A folder of ground-truth index PNGs, one per image: class ids, 255 = ignore."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DatasetError(f"there is no mask folder {folder}; check data.masks")
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return where the mask of an image is, or would be."""
        return self.folder / f"{name}.png"

    def __contains__(self, name: str) -> bool:
        return self.path(name).exists()

    def fingerprint(self, names: Iterable[str]) -> str:
        """Digest which images have a mask, and the masks' sizes in bytes."""
        paths = {name: self.path(name) for name in names}
        return digest(
            [[name, p.stat().st_size] for name, p in paths.items() if p.exists()]
        )

    def read(
        self, name: str, *, num_classes: int, size: tuple[int, int]
    ) -> UInt8[np.ndarray, "h w"]:
        """Read one mask and check it.

        Args:
            name: The image's name.
            num_classes: Ids must be below it, background included, or 255.
            size: Width and height that it must have, in pixels.

        Raises:
            DatasetError: If it is missing or damaged, stores colours, is of another
                size or holds an id that is no class, naming the file.
        """
        path = self.path(name)
        if not path.exists():
            raise DatasetError(f"{path}: there is no such mask")
        try:
            mask = read_index_png(path)
        except ArtifactError as error:
            raise DatasetError(f"{error}; replace or remove the mask") from None
        height, width = mask.shape
        if (width, height) != size:
            raise DatasetError(
                f"{path}: the mask is {width}x{height} but belongs to {size[0]}x"
                f"{size[1]} pixels; they must be of one size"
            )
        ids = np.unique(mask)
        unknown = ids[(ids >= num_classes) & (ids != IGNORE)]
        if unknown.size:
            some = ", ".join(map(str, unknown[:_MOST_IDS]))
            more = ", ..." if unknown.size > _MOST_IDS else ""
            raise DatasetError(
                f"{path}: class id {some}{more} is unknown; ids must lie below "
                f"{num_classes} or be {IGNORE} (ignore): mend the mask or name its "
                f"class"
            )
        return mask
