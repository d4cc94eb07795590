"""Activation maps on disk: float16 at stride 4, one npz without pickle per image."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from tag2mask.artifacts.arrays import DAMAGED, open_arrays
from tag2mask.artifacts.files import cure, is_scratch, whole_file
from tag2mask.errors import ArtifactError
from tag2mask.functional.shapes import IGNORE

STRIDE = 4


class Cams(NamedTuple):
    """The activation maps of one image, one per tag.

    Attributes:
        maps: In [0, 1], at a quarter of the image's size, rounded up.
        class_ids: Class of each map, ascending, background (0) never among them.
    """

    maps: Float[Tensor, "t h w"]
    class_ids: tuple[int, ...]

    def at(self, height: int, width: int) -> Float[Tensor, "t {height} {width}"]:
        """Return the maps bilinearly resized to an image's own size."""
        if not self.class_ids:
            return torch.zeros(0, height, width)
        return functional.interpolate(
            self.maps[None], (height, width), mode="bilinear", align_corners=False
        )[0]

    def best_at(
        self, height: int, width: int
    ) -> tuple[Float[Tensor, "{height} {width}"], UInt8[Tensor, "{height} {width}"]]:
        """Return each pixel's highest score, in [0, 1], and the class it belongs to.

        Of equal scores the lower class id; without any tag 0 and background.
        """
        if not self.class_ids:
            nothing = torch.zeros(height, width)
            return nothing, nothing.to(torch.uint8)
        score, winner = self.at(height, width).max(dim=0)
        ids = torch.tensor(self.class_ids, dtype=torch.uint8)
        return score.clamp(0, 1), ids[winner]


class CamFolder(Mapping[str, Cams]):
    """A folder of activation maps read as a mapping from image name to maps.

    An image ``a/b`` has its maps at ``a/b.npz``. Reading those that are missing or
    damaged raises an ArtifactError that names the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return where the maps of an image are, or would be."""
        return cam_path(self.folder, name)

    def __getitem__(self, name: str) -> Cams:
        return read_cams(self.folder, name)

    def __iter__(self) -> Iterator[str]:
        paths = sorted(p for p in self.folder.rglob("*.npz") if not is_scratch(p))
        return (p.relative_to(self.folder).with_suffix("").as_posix() for p in paths)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.path(name).exists()


def cam_path(folder: Path, name: str) -> Path:
    """Return where the activation maps of an image are, or would be."""
    return folder / f"{name}.npz"


def write_cams(folder: Path, name: str, cams: Cams) -> None:
    """Write one image's maps as float16, whole or not at all."""
    with whole_file(cam_path(folder, name)) as scratch, scratch.open("wb") as stream:
        np.savez(
            stream,
            maps=cams.maps.cpu().numpy().astype(np.float16),
            class_ids=np.array(cams.class_ids, dtype=np.uint8),
        )


def read_cams(folder: Path, name: str) -> Cams:
    """Read one image's maps as float32.

    Raises:
        ArtifactError: If the file is missing or damaged, naming it.
    """
    path = cam_path(folder, name)
    try:
        with open_arrays(path) as arrays:
            maps, class_ids = arrays["maps"], arrays["class_ids"]
            if maps.ndim != 3 or maps.shape[:1] != class_ids.shape:
                raise ValueError(f"maps {maps.shape} are of classes {class_ids.shape}")
            if not np.isin(class_ids, np.arange(1, IGNORE)).all():
                raise ValueError(f"class ids must be 1 to {IGNORE - 1}")
            ids = tuple(class_ids.astype(np.uint8).tolist())
            return Cams(torch.from_numpy(maps.astype(np.float32)), ids)
    except DAMAGED as error:
        raise ArtifactError(
            f"{path} cannot be read as activation maps: {error}; {cure(path)}"
        ) from error
