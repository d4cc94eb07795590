"""The layout of YOLO's semantic segmentation: grey masks beside images, data.yaml."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tag2mask.artifacts.files import whole_file
from tag2mask.artifacts.labels import read_index_png
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.runtime import Runtime
from tag2mask.export.label_maps import LabelMaps

DATA = "data.yaml"


def write_yolo(maps: LabelMaps, out: Path, runtime: Runtime) -> None:
    """Write masks/SPLIT/NAME.png, copies of the photographs, and data.yaml.

    The masks are grey: a reader that decodes a palette would see its colours.
    """

    def write(name: str) -> None:
        photograph = maps.photographs[name]
        with whole_file(_mask(out, maps, name)) as scratch:
            picture = Image.fromarray(maps.read(name))
            picture.save(scratch, format="PNG", compress_level=1)
        if photograph.path is not None:
            suffix = PurePosixPath(photograph.file).suffix
            target = out / "images" / photograph.split / f"{name}{suffix}"
            with whole_file(target) as scratch:
                shutil.copyfile(photograph.path, scratch)

    for_each_image(write, maps.names, runtime=runtime, title="yolo")
    # strings of JSON are strings of YAML
    splits = {photograph.split for photograph in maps.photographs.values()}
    lines = [f"path: {json.dumps(str(out.resolve()))}", "masks_dir: masks"]
    lines.append("train: images/train")
    # both keys are asked for; without a val split the score is one of training
    lines.append(f"val: images/{'val' if 'val' in splits else 'train'}")
    lines.append("names:")
    lines += [f"  {n}: {json.dumps(each)}" for n, each in enumerate(maps.class_names)]
    with whole_file(out / DATA) as scratch:
        scratch.write_text("\n".join([*lines, ""]), encoding="utf-8")


def open_yolo(out: Path, maps: LabelMaps) -> Callable[[str], UInt8[np.ndarray, "h w"]]:
    """Return what reads a label map by its name."""
    return lambda name: read_index_png(_mask(out, maps, name))


def _mask(out: Path, maps: LabelMaps, name: str) -> Path:
    return out / "masks" / maps.photographs[name].split / f"{name}.png"
