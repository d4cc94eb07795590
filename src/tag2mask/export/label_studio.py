"""Label Studio: brush predictions to import, and the labels that they need."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import UInt8

from tag2mask.artifacts.files import digest, read_json, whole_file, write_json
from tag2mask.data.brush_code import encode_brush
from tag2mask.data.label_studio_file import draw_regions
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.export.label_maps import LabelMaps

TASKS = "tasks.json"
CONFIG = "labelling.xml"
LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves what is on its own disk."""
_FROM, _TO = "mask", "image"


def write_label_studio(
    maps: LabelMaps, out: Path, runtime: Runtime, *, address: str = LOCAL_FILES
) -> None:
    """Write tasks.json and labelling.xml.

    Args:
        maps: Label maps.
        out: Folder.
        runtime: How many threads.
        address: What precedes a photograph's file in its address.
    """
    names = maps.label_names()

    def describe(name: str) -> dict[str, Any]:
        height, width, ids = maps.contents[name]
        labels = maps.read(name)
        regions = [
            {
                "id": digest([name, number])[:10],
                "type": "brushlabels",
                "from_name": _FROM,
                "to_name": _TO,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": encode_brush(labels == number),
                    "brushlabels": [names[number]],
                },
            }
            for number in ids
            if number > 0
        ]
        image = address + quote(maps.photographs[name].file)
        return {
            # without a region nothing else would tell the size
            "data": {"image": image, "name": name, "width": width, "height": height},
            "predictions": [{"model_version": "tag2mask", "result": regions}],
        }

    found = map_images(describe, maps.names, runtime=runtime, title="label-studio")
    write_json(out / TASKS, list(found))
    with whole_file(out / CONFIG) as scratch:
        scratch.write_text(_config(maps), encoding="utf-8")


def open_label_studio(
    out: Path, maps: LabelMaps
) -> Callable[[str], UInt8[np.ndarray, "h w"]]:
    """Return what reads a label map by its name: regions over background."""
    tasks = {task["data"]["name"]: task for task in read_json(out / TASKS)}
    ids = {name: number for number, name in maps.label_names().items()}

    def read(name: str) -> UInt8[np.ndarray, "h w"]:
        (prediction,) = tasks[name]["predictions"]
        height, width, _ = maps.contents[name]
        return draw_regions(prediction["result"], ids, size=(height, width))

    return read


def _config(maps: LabelMaps) -> str:
    colours = maps.colours()
    lines = ["<View>", f'  <Image name="{_TO}" value="$image" zoom="true"/>']
    lines.append(f'  <BrushLabels name="{_FROM}" toName="{_TO}">')
    for number, name in maps.label_names().items():
        if number > 0:
            colour = "#{:02x}{:02x}{:02x}".format(*colours[number])
            lines.append(f'    <Label value={quoteattr(name)} background="{colour}"/>')
    return "\n".join([*lines, "  </BrushLabels>", "</View>", ""])
