"""Stage segment: learn a segmenter from voted labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.random import Generator
from torch import Tensor, nn

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.data.augment import Augmentation
from tag2mask.data.images import read_indexed
from tag2mask.data.sampling import Sample, Tickets
from tag2mask.engine.loop import Batch, Losses
from tag2mask.engine.runtime import Runtime
from tag2mask.engine.training_log import read_log
from tag2mask.functional.class_balance import logit_adjustment
from tag2mask.functional.complements import draw_complement
from tag2mask.functional.noisy_losses import (
    background_shares,
    cross_entropy_loss,
    positive_negative_loss,
)
from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.voting import is_clean
from tag2mask.models.deeplab import upsample
from tag2mask.models.segmenters import make_network, write_card
from tag2mask.stages.prompts import teacher_name
from tag2mask.stages.training import (
    augmentation,
    multi_hot,
    seed_everything,
    train,
    training_backbone,
)

VERSION = 3
_COUNTED = 2000
_FAR = 0.15
"""Difference of background shares that is worth a warning."""


def run(
    index: Index,
    voted: Path,
    settings: config.Segment,
    folder: Path,
    *,
    random_seed: int,
    runtime: Runtime,
) -> None:
    """Train the segmenter on the train split; write weights, model.json, log.csv.

    Args:
        index: The images, their tags and classes.
        voted: Folder of labels/ and support/.
        settings: Network, loss and training.
        folder: Where the segmenter goes.
        random_seed: Of weights, order, augmentation and complements.
        runtime: Where to train.
    """
    seed_everything(random_seed)
    backbone = training_backbone(settings)
    network = make_network(
        backbone,
        settings.network,
        num_classes=index.num_classes,
        rates=settings.rates,
        dropout=settings.dropout,
    )
    draw = _drawing(index, voted, augmentation(settings, backbone))
    num_images = len(index.split("train"))
    write_card(folder, model_card(settings, index.class_names))
    train(
        network,
        make_losses(
            settings,
            adjustment=_adjustment(index, voted, settings.logit_adjustment),
            random_seed=random_seed,
        ),
        Tickets(draw, num_images=num_images, random_seed=random_seed),
        settings,
        folder,
        runtime,
    )
    if warning := collapse_warning(folder):
        runtime.progress.say(f"warning: {warning}")


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
    if abs(predicted - labelled) <= _FAR:
        return ""
    return (
        f"the segmenter calls {predicted:.0%} of the labelled pixels background, the "
        f"labels {labelled:.0%}: it may have collapsed; try a smaller segment.tau, "
        f"larger segment.cross_entropy_share, or more steps"
    )


def model_card(
    settings: config.Segment, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return what is needed to build the network again, and what it started from."""
    return {
        "network": settings.network,
        "rates": settings.rates,
        "backbone": settings.backbone,
        "backbone_options": settings.backbone_options,
        "output_stride": settings.output_stride,
        "dilate": settings.dilate,
        "class_names": list(class_names),
        "init": initialisation(settings),
    }


def initialisation(settings: config.Network) -> str:
    """Say what a network started from, as a score's protocol does."""
    if isinstance(settings, config.Segment) and settings.init_from is not None:
        return f"{settings.backbone}: voter {settings.init_from}"
    source = {"hub": "ImageNet (timm hub)", "none": "random"}
    weights = source.get(settings.weights, Path(settings.weights).name)
    taught = ""
    if isinstance(settings, config.CaCl | config.Clims):
        warm = ", warm start" * settings.warm_start
        taught = f"{warm}, taught by {teacher_name(settings.image_text)}"
    return f"{settings.backbone}: {weights}{taught}"


def _adjustment(index: Index, voted: Path, strength: float) -> Float[Tensor, "k"]:
    """Count classes in at most ``_COUNTED`` label maps: enough to know their shares."""
    images = index.split("train")
    labels = LabelFolder(voted / "labels")
    pixels = torch.zeros(index.num_classes, dtype=torch.int64)
    for image in images[:: -(-len(images) // _COUNTED)] if strength else ():
        counts = torch.bincount(labels[image.name].flatten(), minlength=IGNORE + 1)
        pixels += counts[: index.num_classes]
    return logit_adjustment(pixels, strength=strength)


def make_losses(
    settings: config.Segment, *, adjustment: Float[Tensor, "k"], random_seed: int
) -> Callable[[nn.Module, Batch, int], Losses]:
    """Return the losses of a segmenter on a batch, as the recipe asks.

    Args:
        settings: The loss and its knobs.
        adjustment: Added to the logits of each class (``logit_adjustment``).
        random_seed: Of the complements.
    """
    warmup = round(settings.cross_entropy_share * settings.steps)

    def losses(network: nn.Module, batch: Batch, step: int) -> Losses:
        stride = settings.loss_stride
        middle = stride // 2  # of the pixels that one resized logit covers
        labels = batch["labels"][:, middle::stride, middle::stride]
        support = batch["support"][:, middle::stride, middle::stride]
        size = (labels.shape[-2], labels.shape[-1])
        logits = upsample(network(batch["image"]).float(), size)
        logits = logits + adjustment.to(logits.device)[:, None, None]
        shares = background_shares(logits.detach(), labels)
        watched = {
            "background_predicted": shares.predicted,
            "background_labelled": shares.labelled,
        }
        if settings.loss == "cross_entropy" or step < warmup:
            loss = cross_entropy_loss(logits, labels)
            return Losses({"cross_entropy": loss}, watched)
        if settings.loss == "positive_negative":
            generator = torch.Generator(labels.device)
            generator.manual_seed(random_seed * 1_000_003 + step)
            complement = draw_complement(
                labels,
                num_classes=logits.shape[1],
                mode=settings.complement,
                tags=batch["tags"],
                num_complements=settings.num_complements,
                generator=generator,
            )
            terms = _positive_negative(logits, labels, support, complement, settings)
            return Losses(terms.terms, watched | dict(terms.watched))
        assert_never(settings.loss)

    return losses


def _positive_negative(
    logits: Float[Tensor, "b k h w"],
    labels: UInt8[Tensor, "b h w"],
    support: UInt8[Tensor, "b h w"],
    complement: Int64[Tensor, "b n h w"],
    settings: config.Segment,
) -> Losses:
    loss = positive_negative_loss(
        logits,
        labels,
        is_clean(support, min_support=settings.min_support),
        complement,
        tau=settings.tau,
        weight_from=settings.weight_from,
    )
    return Losses(
        {"positive": loss.positive, "negative": loss.negative},
        {
            "unweighted_positive": loss.unweighted_positive,
            "clean_share": loss.clean_share,
        },
    )
