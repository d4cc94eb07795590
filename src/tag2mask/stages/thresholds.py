"""Background thresholds of stored scores, counted in one pass over the images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from tag2mask.artifacts.cams import CamFolder
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.thresholds import ThresholdCurve, agreement_threshold
from tag2mask.functional.voting import vote

NUM_THRESHOLDS = 200
"""Steps of the grid; the field's 0.15 is one of them."""


def count_thresholds(
    scores: CamFolder,
    images: Sequence[ImageRecord],
    read_truth: Callable[[ImageRecord], np.ndarray],
    *,
    num_classes: int,
    runtime: Runtime,
) -> ThresholdCurve:
    """Count the pixels of all images by their best score, its class and the truth.

    Args:
        scores: Activation maps, or what a random walk made of them.
        images: Those that are counted.
        read_truth: Returns the labels of an image as ``UInt8 "h w"``, 255 where it is
            not counted.
        num_classes: Background included.
        runtime: How many threads.
    """

    def read(image: ImageRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        score, winner = scores[image.name].best_at(image.height, image.width)
        return score.numpy(), winner.numpy(), read_truth(image)

    curve = ThresholdCurve(num_classes, NUM_THRESHOLDS)
    for counted in map_images(read, images, runtime=runtime, title="thresholds"):
        curve.add(*counted)
    return curve


def agree_with_others(
    index: Index, scores: Path, others: Sequence[LabelFolder], *, runtime: Runtime
) -> float | None:
    """Return the threshold at which a voter agrees best with the vote of the others.

    No mask is read. None if the others name no object (see ``agreement_threshold``).

    Args:
        index: The images; the train split is counted.
        scores: Folder of the voter's activation maps.
        others: The label maps of each other voter.
        runtime: How many threads.
    """

    def join(image: ImageRecord) -> np.ndarray:
        return vote(torch.stack([other[image.name] for other in others])).labels.numpy()

    curve = count_thresholds(
        CamFolder(scores),
        [image for image in index.split("train") if image.tags],
        join,
        num_classes=index.num_classes,
        runtime=runtime,
    )
    return agreement_threshold(curve)
