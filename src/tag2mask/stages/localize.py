"""Stage localize: learn from tags where each tag is."""

from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator
from torch import nn

from tag2mask import config
from tag2mask.artifacts.tables import Index
from tag2mask.data.images import read_indexed
from tag2mask.data.sampling import Tickets
from tag2mask.engine.loop import Batch, Losses
from tag2mask.engine.runtime import Runtime
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork, multi_label_loss
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
    dropout: float,
    random_seed: int,
    runtime: Runtime,
) -> None:
    """Train a multi-label classifier on the tags of the train split.

    Writes weights.safetensors and log.csv.
    """
    seed_everything(random_seed)
    backbone = training_backbone(voter)
    network = CamNetwork(backbone, num_tags=index.num_classes - 1, dropout=dropout)
    augment = augmentation(voter, backbone)
    images = index.split("train")

    def draw(number: int, rng: Generator) -> dict[str, Any]:
        image = images[number]
        pixels, _ = augment(read_indexed(index, image), [], [], rng)
        return {"image": pixels, "tags": multi_hot(image.tags, index.num_classes)}

    train(
        network,
        _losses,
        Tickets(draw, num_images=len(images), random_seed=random_seed),
        voter,
        folder,
        runtime,
    )


def load(folder: Path, voter: config.Voter, *, num_classes: int) -> CamNetwork:
    """Return a voter's trained network of activation maps in evaluation mode."""
    backbone = make_backbone(
        voter.backbone,
        weights="none",
        output_stride=voter.output_stride,
        dilate=voter.dilate,
        options=voter.backbone_options,
    )
    network = CamNetwork(backbone, num_tags=num_classes - 1, dropout=0.0)
    for part in ("backbone", "head"):  # there may be more, of the losses only
        load_module(
            getattr(network, part),
            folder / WEIGHTS,
            name=f"a voter on {voter.backbone}",
            part=part,
        )
    return network.eval()


def _losses(network: nn.Module, batch: Batch, step: int) -> Losses:
    del step
    logits = network(batch["image"])
    with torch.no_grad():
        guesses = (logits > 0) == (batch["tags"] > 0)
    loss = multi_label_loss(logits.float(), batch["tags"])
    return Losses({"classification": loss}, {"accuracy": guesses.float().mean()})
