"""Stage segment: learn a segmenter from voted labels."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator
from torch import Tensor

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.data.augment import Augmentation
from tag2mask.data.images import read_indexed
from tag2mask.data.sampling import Sample, Tickets
from tag2mask.engine.runtime import Runtime
from tag2mask.engine.training_log import read_log
from tag2mask.functional.class_balance import logit_adjustment
from tag2mask.functional.shapes import IGNORE
from tag2mask.models.segmenters import SegmenterNetwork, load_segmenter, write_card
from tag2mask.stages.segment_losses import make_losses
from tag2mask.stages.segment_network import build_network, model_card
from tag2mask.stages.training import (
    augmentation,
    multi_hot,
    seed_everything,
    train,
)

VERSION = 3
_COUNTED = 2000
_FAR = 0.15
"""Difference of background shares that is worth a warning."""
_EMPTY = 0.99
"""Share of background in labels that hold no object worth the name."""
_FEW = 1 / 3
"""Share of the labelled objects' area, likewise: where nearly all is background, losing
every object is no large difference."""


class Lesson(NamedTuple):
    """What a segmenter learns from.

    Attributes:
        voted: Folder of labels/ and support/.
        first: Folder of the same segmenter after a first round, to learn on from.
    """

    voted: Path
    first: Path | None = None


def run(
    index: Index,
    lesson: Lesson,
    settings: config.Segmenter,
    folder: Path,
    *,
    random_seed: int,
    runtime: Runtime,
) -> None:
    """Train the segmenter on the train split; write weights, model.json, log.csv.

    Args:
        index: The images, their tags and classes.
        lesson: What it learns from.
        settings: Network, loss and training.
        folder: Where the segmenter goes.
        random_seed: Of weights, order, augmentation and complements.
        runtime: Where to train.
    """
    seed_everything(random_seed)
    network = _network(index.num_classes, settings, lesson)
    draw = _drawing(index, lesson.voted, augmentation(settings, network.backbone))
    num_images = len(index.split("train"))
    write_card(folder, model_card(settings, index.class_names))
    train(
        network,
        make_losses(
            settings,
            adjustment=_adjustment(index, lesson.voted, settings.logit_adjustment),
            random_seed=random_seed,
        ),
        Tickets(draw, num_images=num_images, random_seed=random_seed),
        settings,
        folder,
        runtime,
    )
    if warning := collapse_warning(folder):
        runtime.progress.say(f"warning: {warning}")


def _network(
    num_classes: int, settings: config.Segmenter, lesson: Lesson
) -> SegmenterNetwork:
    """Build the network with the weights that it starts from."""
    if lesson.first is None:
        return build_network(settings, num_classes=num_classes)
    blank: dict[str, str | None] = {"weights": "none"}
    if isinstance(settings, config.DeepLab):
        blank["init_from"] = None
    network = build_network(settings.model_copy(update=blank), num_classes=num_classes)
    network.load_state_dict(load_segmenter(lesson.first).network.state_dict())
    return network


def _drawing(
    index: Index, voted: Path, augment: Augmentation
) -> Callable[[int, Generator], Sample]:
    """Return what draws a training image with its labels, support and tags."""
    labels, support = LabelFolder(voted / "labels"), LabelFolder(voted / "support")
    images = index.split("train")

    def draw(number: int, rng: Generator) -> Sample:
        image = images[number]
        maps = [labels[image.name].numpy(), support[image.name].numpy()]
        pixels, cut = augment(read_indexed(index, image), maps, [IGNORE, 0], rng)
        tags = multi_hot(image.tags, index.num_classes)
        return {
            "image": pixels,
            "labels": cut[0],
            "support": cut[1],
            "tags": tags.astype(np.bool_),
        }

    return draw


def collapse_warning(folder: Path) -> str:
    """Say so if a trained segmenter predicts far more or less background than labelled.

    Compares the last row of its log; empty if all is well.
    """
    rows = read_log(folder)
    if not rows:
        return ""
    predicted, labelled = (
        float(rows[-1][f"background_{which}"]) for which in ("predicted", "labelled")
    )
    if labelled > _EMPTY:
        return (
            f"the labels call {labelled:.0%} of the pixels background: there is hardly "
            f"anything to learn; look at the tag mAP and the maps of the voters"
        )
    has_objects = 1 - predicted >= _FEW * (1 - labelled)
    if has_objects and abs(predicted - labelled) <= _FAR:
        return ""
    return (
        f"the segmenter calls {predicted:.0%} of the labelled pixels background, the "
        f"labels {labelled:.0%}: it may have collapsed; try a smaller segment.tau, "
        f"larger segment.cross_entropy_share, or more steps"
    )


def _adjustment(index: Index, voted: Path, strength: float) -> Float[Tensor, "k"]:
    """Count classes in at most ``_COUNTED`` label maps: enough to know their shares."""
    images = index.split("train")
    labels = LabelFolder(voted / "labels")
    pixels = torch.zeros(index.num_classes, dtype=torch.int64)
    for image in images[:: -(-len(images) // _COUNTED)] if strength else ():
        counts = torch.bincount(labels[image.name].flatten(), minlength=IGNORE + 1)
        pixels += counts[: index.num_classes]
    return logit_adjustment(pixels, strength=strength)
