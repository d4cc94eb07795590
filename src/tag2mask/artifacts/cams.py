"""Activation maps on disk: float16 at stride 4, one npz without pickle per image."""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tag2mask.artifacts.files import cure, whole_file
from tag2mask.errors import ArtifactError

STRIDE = 4
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What numpy and zipfile make of a damaged file."""


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
        # numpy leaves a file open that it cannot read
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            maps = torch.from_numpy(arrays["maps"].astype(np.float32))
            return Cams(maps, tuple(arrays["class_ids"].tolist()))
    except DAMAGED as error:
        raise ArtifactError(
            f"{path} cannot be read as activation maps: {error}; {cure(path)}"
        ) from error
