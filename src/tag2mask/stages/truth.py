"""Stage truth: ground-truth masks as labels, for the fully supervised ceiling only.

Its artifact says ``uses_truth``, and so does all that is made from it.
"""

from pathlib import Path

import torch

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.masks import MaskFolder
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.functional.shapes import IGNORE

VERSION = 1
_UNANIMOUS = 255
_MOST_NAMES = 5


def open_masks(data: config.Data) -> MaskFolder:
    """Return the ground truth of a data set.

    Raises:
        DatasetError: If the recipe names no masks, or the folder is missing.
    """
    if data.masks is None:
        raise DatasetError(
            "data.masks is not set: name the folder of ground-truth masks, or leave "
            "out what needs them"
        )
    return MaskFolder(data.root / data.masks)


def run(index: Index, masks: MaskFolder, folder: Path, *, runtime: Runtime) -> None:
    """Write the masks of the train split in the form of a unanimous vote.

    Raises:
        DatasetError: If images of the train split have no mask, naming them.
    """
    images = index.split("train")
    without = [image.name for image in images if image.name not in masks]
    if without:
        names = ", ".join(without[:_MOST_NAMES])
        more = f" and {len(without) - _MOST_NAMES} more" * (len(without) > _MOST_NAMES)
        raise DatasetError(
            f"{masks.folder} holds no mask of {names}{more}; "
            f"segment.labels = 'truth' needs one for every image of the train split"
        )
    labels = LabelFolder(folder / "labels")

    def copy(image: ImageRecord) -> None:
        size = image.width, image.height
        mask = masks.read(image.name, num_classes=index.num_classes, size=size)
        truth = torch.from_numpy(mask)
        support = torch.where(truth == IGNORE, 0, _UNANIMOUS).to(torch.uint8)
        write_support(folder / "support", image.name, support)
        write_labels(labels.folder, image.name, truth)

    missing = [image for image in images if image.name not in labels]
    for_each_image(copy, missing, runtime=runtime, title="truth")
