"""Stage localize: learn from tags, and perhaps saliency, where each tag is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator
from torch import nn

from tag2mask import config
from tag2mask.artifacts.tables import Index
from tag2mask.data.images import read_indexed
from tag2mask.data.saliency import SaliencyFolder
from tag2mask.data.sampling import Tickets
from tag2mask.engine.loop import Batch, Losses
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.functional.saliency import saliency_loss
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork, SaliencyNetwork, multi_label_loss
from tag2mask.models.weights import load_module
from tag2mask.stages.training import (
    WEIGHTS,
    augmentation,
    multi_hot,
    seed_everything,
    train,
    training_backbone,
)

VERSION = 1


def run(
    index: Index,
    voter: config.Classifier,
    folder: Path,
    *,
    saliency: SaliencyFolder | None,
    random_seed: int,
    runtime: Runtime,
) -> None:
    """Train a multi-label classifier on the tags of the train split.

    Writes weights.safetensors and log.csv.

    Args:
        index: The images and their tags.
        voter: Network and training; of several dropouts the first counts.
        folder: Where the classifier goes.
        saliency: Maps of the train split, if ``voter.saliency`` asks for them.
        random_seed: Of weights, order, augmentation and dropout.
        runtime: Where to train.

    Raises:
        DatasetError: If an image or its map cannot be read.
    """
    seed_everything(random_seed)
    backbone = training_backbone(voter)
    network = (CamNetwork if saliency is None else SaliencyNetwork)(
        backbone,
        num_tags=index.num_classes - 1,
        dropout=voter.dropout[0],
        dropout_layer=voter.last_dropout,
    )
    augment = augmentation(voter, backbone)
    images = index.split("train")

    def draw(number: int, rng: Generator) -> dict[str, Any]:
        image = images[number]
        maps = [] if saliency is None else [saliency.read(image)]
        pixels, cut = augment(read_indexed(index, image), maps, [0] * len(maps), rng)
        drawn = {"image": pixels, "tags": multi_hot(image.tags, index.num_classes)}
        return drawn | ({"saliency": cut[0]} if cut else {})

    train(
        network,
        _losses if voter.saliency is None else _saliency_losses(voter.saliency),
        Tickets(draw, num_images=len(images), random_seed=random_seed),
        voter,
        folder,
        runtime,
    )


def open_saliency(
    data: config.Data, settings: config.Saliency, names: Sequence[str]
) -> SaliencyFolder:
    """Return a voter's saliency maps.

    Args:
        data: Says where the folder's path starts, and which one has the ground truth.
        settings: Name the folder.
        names: Of the images that need a map.

    Raises:
        DatasetError: If there is no such folder, an image has no map, or the folder is
            that of the ground truth.
    """
    folder = data.root / settings.folder
    if data.masks is not None:
        masks = (data.root / data.masks).resolve()
        if folder.resolve().is_relative_to(masks):
            raise DatasetError(
                f"{folder} holds the ground-truth masks of data.masks, from which no "
                f"voter may learn; saliency.folder is for maps that a program drew"
            )
    maps = SaliencyFolder(folder)
    maps.require(names)
    return maps


def load(folder: Path, voter: config.TrainedVoter, *, num_classes: int) -> CamNetwork:
    """Return a voter's trained network of activation maps in evaluation mode."""
    backbone = make_backbone(
        voter.backbone,
        weights="none",
        output_stride=voter.output_stride,
        dilate=voter.dilate,
        options=voter.backbone_options,
    )
    layers: dict[str, Any] = {"num_tags": num_classes - 1, "dropout": 0.0}
    has_background = False
    if isinstance(voter, config.Classifier):
        layers["dropout_layer"] = voter.last_dropout
        has_background = voter.saliency is not None
    network = CamNetwork(backbone, **layers)
    trained = SaliencyNetwork(backbone, **layers) if has_background else network
    for part in ("backbone", "head"):  # there may be more, of the losses only
        load_module(
            getattr(trained, part),
            folder / WEIGHTS,
            name=f"a voter on {voter.backbone}",
            part=part,
        )
    if isinstance(trained, SaliencyNetwork):
        trained.without_background(network)
    return network.eval()


def _losses(network: nn.Module, batch: Batch, step: int) -> Losses:
    del step
    logits = network(batch["image"])
    with torch.no_grad():
        guesses = (logits > 0) == (batch["tags"] > 0)
    loss = multi_label_loss(logits.float(), batch["tags"])
    return Losses({"classification": loss}, {"accuracy": guesses.float().mean()})


def _saliency_losses(
    settings: config.Saliency,
) -> Callable[[nn.Module, Batch, int], Losses]:
    """Return the losses of EPS: those of the tags, and of what stands out."""

    def losses(network: nn.Module, batch: Batch, step: int) -> Losses:
        del step
        maps = network(batch["image"]).float()
        logits = maps[:, 1:].mean(dim=(2, 3))
        tags = batch["tags"] > 0
        terms = {
            "classification": multi_label_loss(logits, batch["tags"]),
            "saliency": saliency_loss(
                maps,
                batch["saliency"].float() / 255,
                tags,
                tau=settings.tau,
                balance=settings.balance,
            ),
        }
        right = ((logits.detach() > 0) == tags).float().mean()
        return Losses(terms, {"accuracy": right})

    return losses
