"""COCO's instances file: one run-length code for each class of an image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tag2mask.artifacts.files import read_json, write_json
from tag2mask.data.label_studio_file import IGNORED
from tag2mask.data.run_lengths import decode_runs
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.export.label_maps import LabelMaps
from tag2mask.functional.shapes import IGNORE

ANNOTATIONS = "instances.json"


def write_coco(maps: LabelMaps, out: Path, runtime: Runtime) -> None:
    """Write instances.json; a category's id is that of its class."""
    coder = _coder()

    def describe(name: str) -> list[dict[str, Any]]:
        labels = maps.read(name)
        return [
            _annotation(coder, labels, number)
            for number in maps.contents[name].ids
            if number > 0
        ]

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    found = map_images(describe, maps.names, runtime=runtime, title="coco")
    for number, (name, rows) in enumerate(zip(maps.names, found, strict=True), start=1):
        height, width, _ = maps.contents[name]
        images.append(
            {
                "id": number,
                "file_name": maps.photographs[name].file,
                "height": height,
                "width": width,
            }
        )
        for row in rows:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0, **row}
            )
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in maps.label_names().items()
        if number > 0
    ]
    content = {
        "info": {"description": "label maps of tag2mask"},
        "licenses": [],
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    write_json(out / ANNOTATIONS, content)


def open_coco(out: Path, maps: LabelMaps) -> Callable[[str], UInt8[np.ndarray, "h w"]]:
    """Return what reads a label map by its name: annotations over background."""
    content = read_json(out / ANNOTATIONS)
    ids = {
        row["id"]: IGNORE if row["name"] == IGNORED else row["id"]
        for row in content["categories"]
    }
    images = {row["file_name"]: row for row in content["images"]}
    annotations: dict[int, list[dict[str, Any]]] = {}
    for row in content["annotations"]:
        annotations.setdefault(row["image_id"], []).append(row)

    def read(name: str) -> UInt8[np.ndarray, "h w"]:
        image = images[maps.photographs[name].file]
        labels = np.zeros((image["height"], image["width"]), np.uint8)
        for row in annotations.get(image["id"], []):
            inside = decode_runs(row["segmentation"], *labels.shape)
            labels[inside] = ids[row["category_id"]]
        return labels

    return read


def _annotation(
    coder: Any,  # noqa: ANN401
    labels: UInt8[np.ndarray, "h w"],
    number: int,
) -> dict[str, Any]:
    # the library reads down the columns
    code = coder.encode(np.asfortranarray(labels == number, np.uint8))
    return {
        "category_id": number,
        "segmentation": {
            "size": [int(side) for side in code["size"]],
            "counts": code["counts"].decode("ascii"),
        },
        "area": int(coder.area(code)),
        "bbox": [float(side) for side in coder.toBbox(code)],
    }


def _coder() -> Any:  # noqa: ANN401
    try:
        from pycocotools import mask
    except ImportError:
        raise DatasetError(
            "masks in COCO's format need pycocotools; install it with "
            'pip install "tag2mask[coco]"'
        ) from None
    return mask
