"""Stage vote: the label that most voters give each pixel, and how many gave it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.voting import vote

VERSION = 1


def run(
    index: Index, voters: Sequence[LabelFolder], folder: Path, *, runtime: Runtime
) -> None:
    """Write labels/IMAGE.png and support/IMAGE.png for every image of the train split.

    The threshold that makes a pixel clean is applied where the labels are used, so
    that changing it needs no new vote.

    Args:
        index: The images.
        voters: The label maps of each voter.
        folder: Where the vote goes; images that are there are not voted on again.
        runtime: How many threads.
    """
    labels, support = LabelFolder(folder / "labels"), LabelFolder(folder / "support")

    def join(image: ImageRecord) -> None:
        result = vote(torch.stack([voter[image.name] for voter in voters]))
        write_support(support.folder, image.name, result.support)
        write_labels(labels.folder, image.name, result.labels)

    # labels are written last: an image that has them has its support too
    missing = [image for image in index.split("train") if image.name not in labels]
    for_each_image(join, missing, runtime=runtime, title="vote")
