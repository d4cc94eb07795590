"""Draw the instances of COCO as index masks: ground truth, for scores only."""

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from tag2mask.data.classes import with_background
from tag2mask.data.coco_file import categories_of, read_coco
from tag2mask.data.run_lengths import decode_runs, fill_runs, read_runs
from tag2mask.errors import DatasetError
from tag2mask.functional.shapes import IGNORE

_LEAST_NUMBERS = 6
"""Of a polygon: three corners."""


class CocoMasks:
    """The instances of an annotation file, to be drawn image by image.

    Pixels of no instance are background. Where instances overlap, the smaller one is
    on top (the earlier one, of two of one size), whatever their order in the file.
    Regions of a crowd are ignored (255), except where an instance lies on them.

    Raises:
        DatasetError: If pycocotools is not installed, or the file is missing or none.
    """

    def __init__(self, path: Path) -> None:
        try:
            from pycocotools import mask
        except ImportError:
            raise DatasetError(
                "drawing the masks of COCO needs pycocotools; install it with "
                'pip install "tag2mask[coco]"'
            ) from None
        self._coder = mask
        self._path = path
        content = read_coco(path, key="its path", shape=_compact)
        categories = categories_of(content)
        with_background(tuple(categories.values()), source=str(path))
        self._ids = {each: place for place, each in enumerate(categories, start=1)}
        self.images: list[dict[str, Any]] = content["images"]
        self._instances: dict[int, list[dict[str, Any]]] = {}
        for row in content["annotations"]:
            self._instances.setdefault(row["image_id"], []).append(row)

    def draw(self, image: Mapping[str, Any]) -> UInt8[np.ndarray, "h w"]:
        """Draw the mask of one of ``images``.

        Raises:
            DatasetError: If an outline or the image's size is missing or wrong.
        """
        height, width = self._size(image)
        mask = np.zeros((height, width), np.uint8)
        layers = []
        for row in self._instances.get(image["id"], []):
            try:
                pixels = self._pixels(row.get("segmentation"), height, width)
            except ValueError as error:
                raise DatasetError(
                    f"{self._path}: annotation {row.get('id')} of "
                    f"{image['file_name']}: {error}; correct or remove it"
                ) from None
            label = self._ids.get(row["category_id"])
            if label is None:
                raise DatasetError(
                    f"{self._path}: annotation {row.get('id')} of "
                    f"{image['file_name']} has the category_id {row['category_id']}, "
                    f"but there is no such category; correct or remove it"
                )
            if row.get("iscrowd"):
                mask[pixels] = IGNORE
            else:
                layers.append((int(pixels.sum()), label, pixels))
        # reversed, so that of two of one size the earlier is drawn last
        for _, label, pixels in sorted(layers[::-1], key=lambda layer: -layer[0]):
            mask[pixels] = label
        return mask

    def _size(self, image: Mapping[str, Any]) -> tuple[int, int]:
        """Return height and width, in pixels."""
        size = image.get("height"), image.get("width")
        match size:
            case (bool(), _) | (_, bool()):  # a number to Python, none to numpy
                pass
            case (int(height), int(width)) if min(size) > 0:
                if height * width <= (Image.MAX_IMAGE_PIXELS or height * width):
                    return height, width
        raise DatasetError(
            f"{self._path}: image {image['file_name']} has no height and width of a "
            f"photograph"
        )

    def _pixels(self, outline: Any, height: int, width: int) -> Bool[np.ndarray, "h w"]:  # noqa: ANN401
        """Return the pixels of polygons, or of a run-length code.

        Raises:
            ValueError: If the outline is none, saying why.
        """
        if isinstance(outline, dict):
            return decode_runs(outline, height, width)
        if not isinstance(outline, list) or not outline:
            raise ValueError("it has no outline")
        far = height + width
        for polygon in outline:
            if len(polygon) < _LEAST_NUMBERS or len(polygon) % 2:
                raise ValueError("a polygon must have three corners or more")
            if not all(-far <= number <= 2 * far for number in polygon):
                raise ValueError("a corner of a polygon is far outside of the image")
        codes = self._coder.frPyObjects([list(each) for each in outline], height, width)
        parts = [fill_runs(read_runs(each["counts"]), height, width) for each in codes]
        union: np.ndarray = np.logical_or.reduce(parts)
        return union


def _compact(outline: Any) -> Any:  # noqa: ANN401
    """Store numbers in eight bytes each; None if they are none."""
    try:
        if isinstance(outline, list):
            return [array("d", polygon) for polygon in outline]
        if isinstance(outline, dict) and isinstance(outline.get("counts"), list):
            return outline | {"counts": array("q", outline["counts"])}
    except (TypeError, OverflowError):
        return None
    return outline
