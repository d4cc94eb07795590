"""Convert the ground truth of published data sets to index PNGs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tag2mask.artifacts.labels import write_labels
from tag2mask.data.coco_masks import CocoMasks
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError


def write_coco_masks(instances: Path, out: Path, *, runtime: Runtime) -> int:
    """Write an index PNG for each image of an annotation file of COCO.

    Ids are those of layout ``coco``: the categories by ascending id, from 1.

    Returns:
        How many images there are.

    Raises:
        DatasetError: Naming every annotation that cannot be drawn; the masks of all
            other images are written.
    """
    masks = CocoMasks(instances)

    def write(image: Mapping[str, Any]) -> str:
        try:
            labels = torch.from_numpy(masks.draw(image))
        except DatasetError as error:
            return str(error)
        name = Path(image["file_name"]).with_suffix("").as_posix()
        write_labels(out, name, labels)
        return ""

    told = map_images(write, masks.images, runtime=runtime, title="masks")
    problems = [problem for problem in told if problem]
    if problems:
        lines = [f"{len(problems)} masks are not written:", *problems]
        raise DatasetError("\n  ".join(lines))
    return len(masks.images)
