"""Label maps and support maps on disk: one 8-bit PNG per image."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tag2mask.artifacts.files import cure, is_scratch, whole_file
from tag2mask.errors import ArtifactError
from tag2mask.functional.palette import voc_palette
from tag2mask.pictures import BOMBS, UNREADABLE, refuse_bomb


class LabelFolder(Mapping[str, Tensor]):
    """A folder of index PNGs read as a mapping from image name to label map.

    An image ``a/b`` has its label map at ``a/b.png``; each is ``UInt8 "h w"``. Reading
    one that is missing or damaged raises an ArtifactError that names the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return where the label map of an image is, or would be."""
        return self.folder / f"{name}.png"

    def __getitem__(self, name: str) -> UInt8[Tensor, "h w"]:
        path = self.path(name)
        if not path.exists():
            raise ArtifactError(f"{path}: there is no such label map; {cure(path)}")
        try:
            return torch.from_numpy(read_index_png(path))
        except ArtifactError as error:
            raise ArtifactError(f"{error}; {cure(path)}") from None

    def __iter__(self) -> Iterator[str]:
        paths = sorted(p for p in self.folder.rglob("*.png") if not is_scratch(p))
        return (p.relative_to(self.folder).with_suffix("").as_posix() for p in paths)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.path(name).exists()


def read_index_png(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Read an 8-bit palette or grey PNG as the numbers it stores.

    Raises:
        ArtifactError: If the file cannot be read or stores colours, naming it.
    """
    try:
        # the depth is asked for, since Pillow stretches grey of fewer bits to 0..255
        with Image.open(path, formats=("PNG",)) as picture:
            refuse_bomb(picture, Image.MAX_IMAGE_PIXELS)
            stored = f"{picture.mode}, {_depth(path)} bits"
            if stored != "L, 8 bits" and picture.mode != "P":
                raise ArtifactError(
                    f"{path}: expected an 8-bit palette or grey PNG with one class id "
                    f"per pixel, got mode {stored}; save it as an index PNG"
                )
            return np.array(picture)
    except (*UNREADABLE, *BOMBS) as error:
        raise ArtifactError(f"{path} cannot be read as a PNG: {error}") from error


def _depth(path: Path) -> int:
    """Return the bits per channel of a PNG, from its header."""
    with path.open("rb") as stream:
        return stream.read(25)[-1]


def write_labels(folder: Path, name: str, labels: UInt8[Tensor, "h w"]) -> None:
    """Write one label map with PASCAL VOC's palette, whole or not at all."""
    picture = Image.fromarray(labels.cpu().numpy())
    picture.putpalette(voc_palette())
    with whole_file(folder / f"{name}.png") as scratch:
        picture.save(scratch, format="PNG", compress_level=1)


def write_support(folder: Path, name: str, support: UInt8[Tensor, "h w"]) -> None:
    """Write one map of vote counts as a grey PNG, whole or not at all."""
    picture = Image.fromarray(support.cpu().numpy())
    with whole_file(folder / f"{name}.png") as scratch:
        picture.save(scratch, format="PNG", compress_level=1)
