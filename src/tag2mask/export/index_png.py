"""Index PNGs: ids in a palette PNG for each image, 255 = unlabelled; classes.json."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from tag2mask.artifacts.claim import CLASSES
from tag2mask.artifacts.files import write_json
from tag2mask.artifacts.labels import read_index_png, write_labels
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.runtime import Runtime
from tag2mask.export.label_maps import LabelMaps


def write_index_pngs(maps: LabelMaps, out: Path, runtime: Runtime) -> None:
    """Write OUT/NAME.png and the names of the classes."""

    def write(name: str) -> None:
        write_labels(out, name, torch.from_numpy(maps.read(name)))

    for_each_image(write, maps.names, runtime=runtime, title="index")
    write_json(out / CLASSES, list(maps.class_names))


def open_index_pngs(out: Path) -> Callable[[str], UInt8[np.ndarray, "h w"]]:
    """Return what reads a label map by its name."""
    return lambda name: read_index_png(out / f"{name}.png")
