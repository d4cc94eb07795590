"""CVAT's "Segmentation mask 1.1": a zip in the layout of VOC, masks as colours."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tag2mask.artifacts.files import whole_file
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.export.label_maps import LabelMaps
from tag2mask.export.voc import (
    LABEL_MAP,
    LISTS,
    MASKS,
    label_map,
    labels_of,
    read_label_map,
)
from tag2mask.segmentation import class_colours

ARCHIVE = "cvat-segmentation-mask-1.1.zip"
_OBJECTS = "SegmentationObject"
"""An object a class: without it CVAT would draw the background too."""


def write_cvat(maps: LabelMaps, out: Path, runtime: Runtime) -> None:
    """Write an archive for CVAT's "Upload annotations"."""
    every = np.array(class_colours(256), np.uint8)

    def draw(name: str) -> tuple[str, bytes, bytes]:
        labels = maps.read(name)
        ids = [number for number in maps.contents[name].ids if number > 0]
        objects = np.zeros(256, np.uint8)
        objects[ids] = np.arange(1, len(ids) + 1)
        return name, _png(every[labels]), _png(every[objects[labels]])

    with whole_file(out / ARCHIVE) as scratch, zipfile.ZipFile(scratch, "w") as archive:
        archive.writestr(_member(LABEL_MAP), label_map(maps))
        names = "".join(f"{name}\n" for name in maps.names)
        archive.writestr(_member(f"{LISTS}/default.txt"), names)
        drawn: Iterator[tuple[str, bytes, bytes]] = map_images(
            draw, maps.names, runtime=runtime, title="cvat"
        )
        for name, classes, objects in drawn:
            archive.writestr(_member(f"{MASKS}/{name}.png"), classes)
            archive.writestr(_member(f"{_OBJECTS}/{name}.png"), objects)


def open_cvat(out: Path) -> Callable[[str], UInt8[np.ndarray, "h w"]]:
    """Return what reads a label map by its name; nothing is unpacked to disk."""
    path = out / ARCHIVE
    with zipfile.ZipFile(path) as archive:
        colours = read_label_map(archive.read(LABEL_MAP).decode("utf-8"))

    def read(name: str) -> UInt8[np.ndarray, "h w"]:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(f"{MASKS}/{name}.png") as stream,
            Image.open(stream, formats=("PNG",)) as picture,
        ):
            return labels_of(np.array(picture), colours)

    return read


def _member(name: str) -> zipfile.ZipInfo:
    """Return a member without a time, so that the same masks give the same file."""
    return zipfile.ZipInfo(name)


def _png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
