"""Stage localize, voters that an image-text model teaches: CA-CL and CLIMS."""

from pathlib import Path
from typing import Any, NamedTuple, assert_never

from numpy.random import Generator

from tag2mask import config
from tag2mask.artifacts.files import write_json
from tag2mask.artifacts.tables import Index
from tag2mask.data.images import read_indexed
from tag2mask.data.sampling import Tickets
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.background_gate import Motion
from tag2mask.models.backbones import Backbone
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.suppression_gate import SuppressionGate
from tag2mask.models.text_network import TextNetwork
from tag2mask.models.weights import load_module
from tag2mask.stages.prompts import TextVectors, open_image_text
from tag2mask.stages.text_losses import make_losses
from tag2mask.stages.training import (
    WEIGHTS,
    augmentation,
    multi_hot,
    seed_everything,
    train,
    training_backbone,
)

VERSION = 1
CHOICES = "choices.json"


class Teaching(NamedTuple):
    """What a voter learns from, besides tags.

    Attributes:
        vectors: Of all prompts.
        warm: Folder of the classifier to start from; None: the recipe's weights.
    """

    vectors: TextVectors
    warm: Path | None


def run(
    index: Index,
    voter: config.CaCl | config.Clims,
    teaching: Teaching,
    folder: Path,
    *,
    random_seed: int,
    runtime: Runtime,
) -> None:
    """Train activation maps by what an image-text model sees in them.

    Writes weights.safetensors, log.csv and choices.json: for each class its threshold,
    the share of background prompts that pass, and how often each context was chosen.

    Args:
        index: The images and their tags.
        voter: Networks, losses and training.
        teaching: Prompts and start.
        folder: Where the voter goes.
        random_seed: Of order and augmentation.
        runtime: Where to train.
    """
    seed_everything(random_seed)
    backbone = training_backbone(voter)
    cam = CamNetwork(backbone, num_tags=index.num_classes - 1, dropout=0.0)
    vectors, warm = teaching
    if warm is not None:
        load_module(cam, warm / WEIGHTS, name=f"a classifier on {voter.backbone}")
    network = with_gate(cam, voter, num_contexts=vectors.num_contexts)
    teacher = open_image_text(voter.image_text, device=runtime.device)
    train(
        network,
        make_losses(voter, teacher, vectors.to(runtime.device), backbone),
        _tickets(index, voter, backbone, random_seed=random_seed),
        voter,
        folder,
        runtime,
    )
    load_module(network, folder / WEIGHTS, name="the trained voter")
    write_choices(network, index.class_names[1:], vectors, folder)
    for warning in gate_warnings(network.gate, index.class_names[1:]):
        runtime.progress.say(f"warning: {warning}")


def warm_classifier(voter: config.CaCl | config.Clims) -> config.Classifier | None:
    """Return the classifier that a voter starts from, as a table of its own."""
    if not voter.warm_start:
        return None
    network = {
        key: getattr(voter, key)
        for key in (
            "backbone",
            "weights",
            "backbone_options",
            "output_stride",
            "dilate",
        )
    }
    schedule = dict(voter.classifier)
    dropout = (schedule.pop("dropout"),)
    return config.Classifier(**network, **schedule, dropout=dropout)


def with_gate(
    cam: CamNetwork, voter: config.CaCl | config.Clims, *, num_contexts: int
) -> TextNetwork:
    """Put the gate of a recipe beside a CAM network."""
    table = voter.gate
    mode = table.mode
    if mode == "auto":
        mode = "adaptive" if _is_clip_b32(voter.image_text) else "quantile"
    gate = SuppressionGate(
        cam.head.out_channels,
        mode=mode,
        theta=table.theta,
        quantile=table.quantile,
        motion=Motion(rate=table.rate, pull=table.pull),
    )
    return TextNetwork(cam, gate, num_contexts=num_contexts)


def _is_clip_b32(model: config.ImageText) -> bool:
    match model:
        case config.ClipModel():
            return model.model == config.ClipModel().model
        case config.OpenClipModel():
            return (model.model, model.weights) == ("ViT-B-32", "openai")
        case config.ConseModel() | config.TinyModel():
            return False
        case _:
            assert_never(model)


def _tickets(
    index: Index,
    voter: config.CaCl | config.Clims,
    backbone: Backbone,
    *,
    random_seed: int,
) -> Tickets:
    augment, images = augmentation(voter, backbone), index.split("train")

    def draw(number: int, rng: Generator) -> dict[str, Any]:
        image = images[number]
        pixels, _ = augment(read_indexed(index, image), [], [], rng)
        return {"image": pixels, "tags": multi_hot(image.tags, index.num_classes)}

    return Tickets(draw, num_images=len(images), random_seed=random_seed)


def write_choices(
    network: TextNetwork,
    tags: tuple[str, ...],
    vectors: TextVectors,
    folder: Path,
) -> None:
    """Write what gate and contexts came to, for each class."""
    gate = network.gate
    rows = {
        tag: {
            "theta": round(float(gate.theta[k]), 4),
            "passing": round(float(gate.passing[k]), 4),
            "contexts": dict(
                zip(vectors.templates, network.chosen[k].tolist(), strict=True)
            ),
        }
        for k, tag in enumerate(tags)
    }
    write_json(folder / CHOICES, rows)


def gate_warnings(gate: SuppressionGate, tags: tuple[str, ...]) -> list[str]:
    """Say which classes have a gate that decides nothing."""
    closed, opened = gate.find_idle_classes()
    told = {
        "no background prompt passes the gate of": closed,
        "every background prompt passes the gate of": opened,
    }
    return [
        f"{what} {', '.join(tags[k] for k in classes)}: it suppresses "
        f"{'nothing' if classes is closed else 'all'}; try gate.mode = 'quantile'"
        for what, classes in told.items()
        if classes
    ]
