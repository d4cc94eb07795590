"""Stage relabel: a trained segmenter labels the images that it learnt from, tags known.

What it learnt from many images mends errors that voters made in one [ours].
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.shapes import BACKGROUND
from tag2mask.functional.voting import count_support
from tag2mask.stages.predict import predict_each
from tag2mask.stages.seed import LESS_MEMORY, label_image
from tag2mask.stages.vote import Elector

VERSION = 1


def run(
    index: Index,
    network: nn.Module,
    electors: Sequence[Elector],
    settings: config.SecondRound,
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write labels/IMAGE.png and support/IMAGE.png for every image of the train split.

    Args:
        index: The images.
        network: The segmenter, in evaluation mode.
        electors: Those who voted: a label has as much support as chose it.
        settings: Scales, mirror and CRF.
        folder: Where the labels go; images that are there are not labelled again.
        runtime: Where to compute.
    """
    labels, support = LabelFolder(folder / "labels"), LabelFolder(folder / "support")
    weights = [elector.weight for elector in electors]

    def read(image: ImageRecord) -> UInt8[Tensor, "h w 3"]:
        return torch.from_numpy(read_indexed(index, image))

    def label(
        image: ImageRecord,
        pixels: UInt8[Tensor, "h w 3"],
        logits: Float[Tensor, "k h w"],
    ) -> None:
        with explain_full_memory(LESS_MEMORY):
            found = tagged_labels(
                logits, image.tags, pixels, settings, runtime.device
            ).cpu()
        ballots = torch.stack([each.labels[image.name] for each in electors])
        votes = count_support(found, ballots, weights=weights)
        write_support(support.folder, image.name, votes)
        write_labels(labels.folder, image.name, found)

    # labels are written last: an image that has them has its support too
    missing = [image for image in index.split("train") if image.name not in labels]
    predict_each(network, missing, settings, read, label, runtime=runtime)


def tagged_labels(
    logits: Float[Tensor, "k h w"],
    tags: Sequence[int],
    image: UInt8[Tensor, "h w 3"],
    settings: config.SecondRound,
    device: torch.device,
) -> UInt8[Tensor, "h w"]:
    """Return the labels of an image of which no class but its tags can be.

    Args:
        logits: Of all classes, at the image's size.
        tags: Its class ids.
        image: The true RGB values.
        settings: Which CRF moves the labels to edges.
        device: Where it runs.
    """
    class_ids = (BACKGROUND, *tags)
    probabilities = logits[list(class_ids)].softmax(0)

    def scores_at(height: int, width: int) -> Float[Tensor, "t h w"]:
        if (height, width) == tuple(probabilities.shape[1:]):
            return probabilities
        return functional.interpolate(
            probabilities[None],
            (height, width),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )[0]

    return label_image(
        scores_at,
        class_ids,
        image,
        crf=settings.crf,
        crf_shrink=settings.crf_shrink,
        device=device,
    )
