"""Stage irnet: learn class boundaries from labels, then find them in every image."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.random import Generator
from torch import nn

from tag2mask import config
from tag2mask.artifacts.edges import edge_path, write_edges
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.data.sampling import Tickets
from tag2mask.engine.inference import PIXELS_PER_BATCH, batches_by_size, to_batch
from tag2mask.engine.loop import Batch, Losses
from tag2mask.engine.map_images import see_each
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.affinity import (
    affinity_loss,
    displacement_loss,
    sample_labels,
)
from tag2mask.functional.shapes import IGNORE
from tag2mask.models.backbones import Backbone, make_backbone
from tag2mask.models.irnet import STRIDE, IrNet
from tag2mask.models.weights import load_module
from tag2mask.stages.training import WEIGHTS, augmentation, seed_everything, train

VERSION = 1
_LESS_MEMORY = "use --device cpu, or give IRNet a smaller backbone in refine.network"


class Start(NamedTuple):
    """The backbone that IRNet reads.

    Attributes:
        network: What it is.
        trained: Folder of the voter that trained it; None: the network's own weights.
    """

    network: config.Network
    trained: Path | None


def run(
    index: Index,
    settings: config.Irnet,
    start: Start,
    folder: Path,
    *,
    random_seed: int,
    runtime: Runtime,
) -> None:
    """Train boundaries on the train split, and find them there.

    Writes weights.safetensors, log.csv and edges/IMAGE.npz.

    Args:
        index: The images.
        settings: Losses and training.
        start: The frozen backbone.
        folder: Holds labels/ of every image, as ``irnet_labels`` writes them.
        random_seed: Of the heads, order and augmentation.
        runtime: Where to train.
    """
    seed_everything(random_seed)
    backbone = open_backbone(start)
    network = IrNet(backbone, displacement=settings.displacement)
    augment = augmentation(settings, backbone)
    labels = LabelFolder(folder / "labels")
    images = index.split("train")

    def draw(number: int, rng: Generator) -> dict[str, Any]:
        image = images[number]
        maps = [labels[image.name].numpy()]
        pixels, cut = augment(read_indexed(index, image), maps, [IGNORE], rng)
        return {"image": pixels, "labels": cut[0]}

    train(
        network,
        make_losses(settings),
        Tickets(draw, num_images=len(images), random_seed=random_seed),
        settings,
        folder,
        runtime,
    )
    load_module(network, folder / WEIGHTS, name="IRNet")  # of an earlier attempt, maybe
    find_edges(index, network.eval(), folder / "edges", runtime=runtime)


def open_backbone(start: Start) -> Backbone:
    """Build the backbone and load its weights, pretrained ones or a voter's.

    Raises:
        ModelError: If they cannot be had or do not fit.
    """
    network = start.network
    backbone = make_backbone(
        network.backbone,
        weights=network.weights if start.trained is None else "none",
        output_stride=network.output_stride,
        dilate=network.dilate,
        options=network.backbone_options,
    )
    if start.trained is not None:
        load_module(
            backbone,
            start.trained / WEIGHTS,
            name=f"a voter on {network.backbone}",
            part="backbone",
        )
    return backbone


def make_losses(
    settings: config.Irnet,
) -> Callable[[nn.Module, Batch, int], Losses]:
    """Return the losses of IRNet on a batch; their sum is that of the code.

    Pairs are made where the network is, from labels at a quarter of the crop's size.
    """

    def losses(network: nn.Module, batch: Batch, step: int) -> Losses:
        del step
        logits, displacement = network(batch["image"])
        size = (logits.shape[-2], logits.shape[-1])
        labels = sample_labels(batch["labels"], size=size, stride=STRIDE)
        pairs = affinity_loss(logits, labels, radius=settings.radius)
        terms = {
            "foreground": pairs.foreground / 4,
            "background": pairs.background / 4,
            "negative": pairs.negative / 2,
        }
        if displacement is not None:
            shifts = displacement_loss(displacement, labels, radius=settings.radius)
            terms["displacement_foreground"] = shifts.foreground / 2
            terms["displacement_background"] = shifts.background / 2
        watched = {
            "labelled": (labels != IGNORE).float().mean(),
            "edge": logits.detach().float().sigmoid().mean(),
        }
        return Losses(terms, watched)

    return losses


def find_edges(index: Index, network: IrNet, folder: Path, *, runtime: Runtime) -> None:
    """Write the boundaries of every image of the train split that lacks them."""
    device = runtime.device
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = _unfinished(index.split("train"), folder, device)

    def read(batch: tuple[ImageRecord, ...]) -> list[torch.Tensor]:
        return [torch.from_numpy(read_indexed(index, image)) for image in batch]

    def see(batch: tuple[ImageRecord, ...], pixels: list[torch.Tensor]) -> None:
        with explain_full_memory(_LESS_MEMORY):
            edges = network.edges(to_batch(pixels, device)).cpu()
        for image, each in zip(batch, edges, strict=True):
            write_edges(folder, image.name, each)

    see_each(read, see, batches, runtime=runtime, title="edges")


def _unfinished(
    images: Sequence[ImageRecord], folder: Path, device: torch.device
) -> list[tuple[ImageRecord, ...]]:
    """Return the batches that lack boundaries.

    Whole batches, so that a resumed run computes what an unbroken one does.
    """
    return [
        batch
        for batch in batches_by_size(images, pixels=PIXELS_PER_BATCH[device.type])
        if not all(edge_path(folder, image.name).exists() for image in batch)
    ]
