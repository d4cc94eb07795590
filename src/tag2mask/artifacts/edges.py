"""Class boundaries on disk: float16 at stride 4, one npz without pickle per image."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tag2mask.artifacts.arrays import DAMAGED, open_arrays
from tag2mask.artifacts.files import cure, whole_file
from tag2mask.errors import ArtifactError


def edge_path(folder: Path, name: str) -> Path:
    """Return where the boundaries of an image are, or would be."""
    return folder / f"{name}.npz"


def write_edges(folder: Path, name: str, edges: Float[Tensor, "h w"]) -> None:
    """Write the probability of a boundary at each pixel, whole or not at all."""
    with whole_file(edge_path(folder, name)) as scratch, scratch.open("wb") as stream:
        np.savez(stream, edges=edges.cpu().numpy().astype(np.float16))


def read_edges(folder: Path, name: str) -> Float[Tensor, "h w"]:
    """Read the boundaries of an image as float32, in [0, 1].

    Raises:
        ArtifactError: If the file is missing or damaged, naming it.
    """
    path = edge_path(folder, name)
    try:
        with open_arrays(path) as arrays:
            edges = arrays["edges"]
            if edges.ndim != 2:
                raise ValueError(f"they are of shape {edges.shape}, expected h w")
            return torch.from_numpy(edges.astype(np.float32))
    except DAMAGED as error:
        raise ArtifactError(
            f"{path} cannot be read as boundaries: {error}; {cure(path)}"
        ) from error
