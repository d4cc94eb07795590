"""The layout of PASCAL VOC: palette PNGs, lists of names, and a map of colours."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from tag2mask.artifacts.files import whole_file
from tag2mask.artifacts.labels import write_labels
from tag2mask.data.label_studio_file import IGNORED
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.export.label_maps import LabelMaps
from tag2mask.functional.shapes import IGNORE
from tag2mask.segmentation import Colour

LABEL_MAP = "labelmap.txt"
MASKS = "SegmentationClass"
LISTS = "ImageSets/Segmentation"


def write_voc(maps: LabelMaps, out: Path, runtime: Runtime) -> None:
    """Write SegmentationClass, ImageSets/Segmentation and labelmap.txt."""

    def write(name: str) -> None:
        write_labels(out / MASKS, name, torch.from_numpy(maps.read(name)))

    for_each_image(write, maps.names, runtime=runtime, title="voc")
    splits: dict[str, list[str]] = {}
    for name, photograph in maps.photographs.items():
        splits.setdefault(photograph.split, []).append(name)
    for split, names in splits.items():
        _write_text(out / LISTS / f"{split}.txt", "".join(f"{n}\n" for n in names))
    _write_text(out / LABEL_MAP, label_map(maps))


def open_voc(out: Path) -> Callable[[str], UInt8[np.ndarray, "h w"]]:
    """Return what reads a label map by its name: by its colours, not its ids."""
    colours = read_label_map((out / LABEL_MAP).read_text(encoding="utf-8"))

    def read(name: str) -> UInt8[np.ndarray, "h w"]:
        with Image.open(out / MASKS / f"{name}.png", formats=("PNG",)) as picture:
            return labels_of(np.array(picture.convert("RGB")), colours)

    return read


def label_map(maps: LabelMaps) -> str:
    """Return a line for each label: its name, colour, and no parts or actions.

    Raises:
        DatasetError: If a name has a colon or a line break, which separate.
    """
    lines = ["# label:color_rgb:parts:actions"]
    colours = maps.colours()
    for number, name in maps.label_names().items():
        if ":" in name or "\n" in name or name.startswith("#"):
            raise DatasetError(
                f"the class {name!r} cannot be written in {LABEL_MAP}: colons and line "
                f"breaks separate there, and # begins a comment; rename it"
            )
        lines.append(f"{name}:{','.join(map(str, colours[number]))}::")
    return "\n".join(lines) + "\n"


def read_label_map(text: str) -> dict[Colour, int]:
    """Return the id of each colour: its line's place, 255 for ``ignored``."""
    found: dict[Colour, int] = {}
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for number, line in enumerate(lines):
        name, colour = line.split(":")[:2]
        red, green, blue = (int(part) for part in colour.split(","))
        found[red, green, blue] = IGNORE if name == IGNORED else number
    return found


def labels_of(
    pixels: UInt8[np.ndarray, "h w 3"], colours: Mapping[Colour, int]
) -> UInt8[np.ndarray, "h w"]:
    """Return the ids of colours.

    Raises:
        DatasetError: If a colour is none of a label.
    """
    packed = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found, places = np.unique(packed, return_inverse=True)
    ids = []
    for value in found.tolist():
        colour = (value >> 16, value >> 8 & 255, value & 255)
        if colour not in colours:
            raise DatasetError(f"the colour {colour} is of no label")
        ids.append(colours[colour])
    labels: np.ndarray = np.array(ids, np.uint8)[places].reshape(packed.shape)
    return labels


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
