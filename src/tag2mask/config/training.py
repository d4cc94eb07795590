"""Knobs of the one training loop, shared by all that trains."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tag2mask.config.base import Fraction, Precision, Schema
from tag2mask.models.resnet38d import FROZEN, RESNET38D


class Course(Schema):
    """How long and how fast, on what part of which images."""

    steps: PositiveInt = 20_000
    """Optimiser steps [paper]."""
    batch: PositiveInt = 10
    """Images per step [paper]."""
    accumulate: PositiveInt = 1
    """Equal parts that a batch is computed in, one after the other: a fraction of the
    memory. The mean of their losses is minimised."""
    crop: Annotated[int, Field(ge=32, le=2048)] = 448
    """Side of the square crop, pixels [peer]."""
    rescale: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Least and greatest random rescale, as a factor of the image's own size [peer]."""
    colour_jitter: NonNegativeFloat = 0.0
    """Greatest relative change of brightness, contrast and saturation."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """``sgd`` [paper]; ``adamw`` suits transformers, and short schedules [ours]."""
    learning_rate: PositiveFloat = 1e-3
    """Of the backbone, at its highest [paper]."""
    head_factor: PositiveFloat = 10.0
    """Learning rate of the head, a neck included, over that of the backbone [peer]."""
    bias_factor: PositiveFloat = 1.0
    """Learning rate of biases over that of their weights; 2 [peer]."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD [peer]; AdamW has its own."""
    weight_decay: NonNegativeFloat = 5e-4
    """How much of each weight a step of unit learning rate takes away [peer]."""
    schedule: Literal["poly", "cosine"] = "poly"
    """How the learning rate falls: ``poly`` [peer]; ``cosine``, as in CA-CL [paper]."""
    power: PositiveFloat = 0.9
    """Exponent of the poly schedule [peer]."""
    last_factor: Fraction = 0.0
    """Learning rate at the end over the first: 0.02 takes 5e-3 down to 1e-4."""
    warmup: NonNegativeInt = 0
    """Steps in which the learning rate rises linearly from nothing."""
    clip_norm: PositiveFloat | None = None
    """Greatest norm of the gradient."""
    precision: Precision = "32"
    """Of the arithmetic of the network while it trains."""

    @model_validator(mode="after")
    def _rescale_is_ordered(self) -> "Course":
        if self.rescale[0] > self.rescale[1]:
            raise ValueError(f"rescale must ascend, got {list(self.rescale)}")
        return self

    @model_validator(mode="after")
    def _parts_are_equal(self) -> "Course":
        if self.batch % self.accumulate:
            raise ValueError(
                f"accumulate ({self.accumulate}) must divide batch ({self.batch})"
            )
        return self


class Schedule(Course):
    """A course, and what of the backbone does not train."""

    freeze: tuple[str, ...] = ()
    """Parts of the backbone that do not train, as ``blocks.0``. Where it is not told,
    those of ``resnet38d`` are conv1a and the blocks b2 [peer]."""
    freeze_batch_norm: bool = True
    """Keep the backbone's running statistics and affine parameters [peer]."""


class Network(Schema):
    """A backbone and its weights."""

    backbone: str = "resnet50"
    """Any timm model, or ``resnet38d``."""
    weights: str = "hub"
    """``hub`` (timm's ImageNet weights), ``none``, or a safetensors or pth file; a file
    for ``resnet38d``, which no hub has."""
    backbone_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further arguments of ``timm.create_model``, as ``pad_type = "same"``; ``mean``
    and ``std`` of the inputs, one number in [0, 1] for all channels, else timm's.
    ``resnet38d`` has ``width`` beside them, a factor of its channels."""
    output_stride: Literal[8, 16, 32] = 16
    """Pixels of the image, a side, for each pixel of the feature map [paper]."""
    dilate: bool = True
    """Keep the receptive field by dilation where a stride is taken out."""


class Training(Schedule, Network):
    """A schedule and the network that it trains."""

    @model_validator(mode="after")
    def _freeze_as_published(self) -> "Training":
        if self.backbone == RESNET38D and "freeze" not in self.model_fields_set:
            object.__setattr__(self, "freeze", FROZEN)
        return self
