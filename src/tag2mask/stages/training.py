"""What the stages that train have in common: from a recipe's table to weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tag2mask import config
from tag2mask.data.augment import Augmentation
from tag2mask.data.sampling import Tickets
from tag2mask.engine.loop import CHECKPOINT, Batch, Learner, Length, Losses, fit
from tag2mask.engine.optimizers import RateFactors, make_optimizer, make_schedule
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ModelError
from tag2mask.models.backbones import Backbone, make_backbone
from tag2mask.models.transformer_segmenters import Encoder
from tag2mask.models.weights import load_module, read_weights, save_module

WEIGHTS = "weights.safetensors"


def seed_everything(random_seed: int) -> None:
    """Seed torch, before a network is built; batches have generators of their own."""
    torch.manual_seed(random_seed)


def training_backbone(training: config.Training) -> Backbone:
    """Build, load and partly freeze the backbone that a table asks for.

    Where a segmenter starts from a voter, ``weights`` is the file of its classifier. No
    other table takes such a file: one that learnt from the truth could come in.
    """
    voter = training.init_from if isinstance(training, config.DeepLab) else None
    backbone = make_backbone(
        training.backbone,
        weights=training.weights if voter is None else "none",
        output_stride=training.output_stride,
        dilate=training.dilate,
        options=training.backbone_options,
    )
    if voter is not None:
        load_module(
            backbone, Path(training.weights), name=training.backbone, part="backbone"
        )
    backbone.freeze(batch_norm=training.freeze_batch_norm, parts=training.freeze)
    return backbone


def augmentation(training: config.Course, backbone: Backbone | Encoder) -> Augmentation:
    """Return the augmentation of a table, padding with the backbone's mean colour."""
    return Augmentation(
        crop=training.crop,
        rescale=training.rescale,
        colour_jitter=training.colour_jitter,
        fill=backbone.mean.flatten().tolist(),
    )


def train(
    model: nn.Module,
    losses_of: Callable[[nn.Module, Batch, int], Losses],
    tickets: Tickets,
    training: config.Course,
    folder: Path,
    runtime: Runtime,
) -> None:
    """Train ``model`` and write its weights; nothing is done if they are there.

    Args:
        model: Its parts ``neck`` and ``head``, if it has them, learn faster.
        losses_of: As in ``engine.loop.Learner``.
        tickets: The samples, shuffled and augmented.
        training: The table.
        folder: Where weights, log and checkpoint are.
        runtime: Where to train.
    """
    if not _has_weights(folder / WEIGHTS, runtime):
        fit(
            _learner(model, losses_of, training),
            tickets,
            Length(
                training.steps,
                training.batch,
                training.clip_norm,
                training.precision,
                training.accumulate,
            ),
            folder=folder,
            runtime=runtime,
        )
        save_module(model, folder / WEIGHTS)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _has_weights(path: Path, runtime: Runtime) -> bool:
    if not path.exists():
        return False
    try:
        read_weights(path)
    except ModelError:
        runtime.progress.say(f"{path} is damaged: this training begins again")
        path.unlink()
        return False
    return True


def _learner(
    model: nn.Module,
    losses_of: Callable[[nn.Module, Batch, int], Losses],
    training: config.Course,
) -> Learner:
    optimizer = make_optimizer(
        model,
        kind=training.optimizer,
        learning_rate=training.learning_rate,
        factors=RateFactors(training.head_factor, training.bias_factor),
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    schedule = make_schedule(
        optimizer,
        kind=training.schedule,
        steps=training.steps,
        power=training.power,
        warmup=training.warmup,
        last_factor=training.last_factor,
    )
    return Learner(model, losses_of, optimizer, schedule)


def multi_hot(tags: tuple[int, ...], num_classes: int) -> np.ndarray:
    """Return one number per class without background: 1 where it is a tag."""
    hot = np.zeros(num_classes - 1, np.float32)
    hot[[tag - 1 for tag in tags]] = 1
    return hot
