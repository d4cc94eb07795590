"""The schema of a recipe: every knob with its unit, bound and source.

What changes the numbers is here; what only changes the speed is on the command line.
Relative paths are relative to the current folder, as on any command line.
Sources: [paper] and [peer] as in the method's papers and their public code, [ours]
measured or decided by this project.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tag2mask.config.base import Schema
from tag2mask.config.data_schema import DataTable

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


def _one_as_many(value: object) -> object:
    """Let a single number stand for a list of one, as people type it."""
    if isinstance(value, int | float):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _none_twice(values: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse values that would give two results one name."""
    names = [f"{value:g}" for value in values]
    if len(set(names)) < len(names):
        raise ValueError(f"a value is named twice: {', '.join(names)}")
    return values


Scales = Annotated[
    tuple[Annotated[float, Field(gt=0.1, le=4)], ...],
    BeforeValidator(_one_as_many),
    AfterValidator(_none_twice),
    Field(min_length=1),
]
Dropouts = Annotated[
    tuple[Annotated[float, Field(ge=0, lt=1)], ...],
    BeforeValidator(_one_as_many),
    AfterValidator(_none_twice),
    Field(min_length=1),
]
Crf = Literal["none", "seeds", "irn_labels", "deeplab"]
Precision = Literal["32", "bf16"]


class Training(Schema):
    """Knobs of the one training loop, shared by all that trains."""

    backbone: str = "resnet50"
    """Any timm model."""
    weights: str = "hub"
    """``hub`` (timm's ImageNet weights), ``none``, or a safetensors or pth file."""
    backbone_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further arguments of ``timm.create_model``, as ``pad_type = "same"``; ``mean``
    and ``std`` of the inputs, one number in [0, 1] for all channels, else timm's."""
    freeze: tuple[str, ...] = ()
    """Parts of the backbone that do not train, as ``blocks.0``."""
    output_stride: Literal[8, 16, 32] = 16
    dilate: bool = True
    """Keep the receptive field by dilation where a stride is taken out."""
    steps: PositiveInt = 20_000
    """Optimiser steps."""
    batch: PositiveInt = 10
    """Images per step."""
    crop: Annotated[int, Field(ge=32, le=2048)] = 448
    """Side of the square crop, pixels."""
    rescale: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Least and greatest random rescale, as a factor of the image's own size."""
    colour_jitter: NonNegativeFloat = 0.0
    """Greatest relative change of brightness, contrast and saturation."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 1e-3
    head_factor: PositiveFloat = 10.0
    """Learning rate of the head over that of the backbone [peer]."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD; AdamW has its own."""
    weight_decay: NonNegativeFloat = 5e-4
    schedule: Literal["poly", "cosine"] = "poly"
    power: PositiveFloat = 0.9
    """Exponent of the poly schedule."""
    warmup: NonNegativeInt = 0
    """Steps in which the learning rate rises linearly from nothing."""
    clip_norm: PositiveFloat | None = None
    """Greatest norm of the gradient."""
    freeze_batch_norm: bool = True
    """Keep the backbone's running statistics and affine parameters [peer]."""
    precision: Precision = "32"

    @model_validator(mode="after")
    def _rescale_is_ordered(self) -> "Training":
        if self.rescale[0] > self.rescale[1]:
            raise ValueError(f"rescale must ascend, got {list(self.rescale)}")
        return self


class CamInference(Schema):
    """How activation maps are read off a trained classifier."""

    scales: Scales = (0.5, 1.0, 1.5, 2.0)
    """Factors of the image's own size; the voter's scale multiplies each [peer]."""
    flip: bool = True
    """Add the mirror image of every scale."""
    contrast: bool = False
    """Take the mean over all tags off each tag's logits first [ours]; eq. 2 does not
    [paper]."""
    precision: Precision = "32"


class Seeding(Schema):
    """How activation maps become a label map."""

    alpha: PositiveFloat | Literal["otsu"] | None = "otsu"
    """Background score (1 - max M)^alpha: the larger, the less background. ``otsu``
    finds one for each voter, without masks: background and object tie at the threshold
    that best splits the voter's scores in two [ours]."""
    background: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A constant background score instead of alpha."""
    crf: Crf = "seeds"
    crf_shrink: Literal[1, 2, 4] = 1
    """Run the CRF on an image this many times smaller."""

    @model_validator(mode="before")
    @classmethod
    def _one_background(cls, table: Any) -> Any:  # noqa: ANN401
        if isinstance(table, dict) and table.get("background") is not None:
            return {"alpha": None} | table
        return table

    @model_validator(mode="after")
    def _background_is_one(self) -> "Seeding":
        if (self.alpha is None) == (self.background is None):
            raise ValueError("give either alpha or background, the other being absent")
        return self


class Classifier(Training):
    """A voter: the activation maps of a multi-label classifier (multi-seed, eq. 1-2).

    Each dropout is a network of its own; each scale is another reading of it. Every
    pair is one voter, named NAME-dropout-scale.
    """

    method: Literal["classifier"] = "classifier"
    output_stride: Literal[8, 16, 32] = 8
    steps: PositiveInt = 20_000
    batch: PositiveInt = 8
    rescale: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.0)
    learning_rate: PositiveFloat = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Dropouts = (0.05, 0.10, 0.20, 0.30)
    """Probability of dropping a channel before the head [paper]."""
    scales: Scales = (1.0, 1.2)
    """Input scale of each voter; multiplies every scale of ``cam`` [paper]."""
    cam: CamInference = CamInference()
    seed: Seeding = Seeding()


Voter = Classifier


class Vote(Schema):
    """How seeds are joined."""

    tie: Literal["lowest_id"] = "lowest_id"
    """A tie goes to the lowest class id, hence to background first."""


class Segment(Training):
    """The segmenter and what it learns from."""

    network: Literal["deeplab_v1", "deeplab_v2"] = "deeplab_v2"
    rates: tuple[PositiveInt, ...] | None = None
    """Dilation of each branch of the head, pixels of the feature map; none: those of
    the paper, 12 for V1 and 6, 12, 18, 24 for V2 at output stride 8, half of them at
    16. Taps beyond the crop learn nothing: small crops want smaller rates."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropping a channel before the head while training."""
    init_from: Name | None = None
    """Voter whose trained backbone the segmenter starts from, the network of its first
    dropout; none: ``weights``. It has learnt the tags, which short schedules lack
    [ours]."""
    labels: Literal["vote", "truth"] = "vote"
    """``truth`` trains the fully supervised ceiling; its score says so."""
    loss: Literal["positive_negative", "cross_entropy"] = "positive_negative"
    min_support: Annotated[int, Field(ge=1, le=255)] = 2
    """Votes that make a pixel clean, t in the paper."""
    tau: PositiveFloat = 0.1
    """Temperature of the prediction constraint; 1 in the paper, which collapses on
    short schedules [ours]."""
    complement: Literal["random", "assigned", "absent", "both"] = "absent"
    """Where the class of the negative loss comes from: ``random`` [paper]."""
    num_complements: PositiveInt = 1
    """Classes drawn for each noisy pixel."""
    weight_from: Literal["constrained", "plain", "eq4"] = "constrained"
    cross_entropy_share: Fraction = 0.5
    """Share of the steps, the first ones, that learn by cross-entropy: from scratch the
    constrained loss calls all background on short schedules [ours]; 0 in the paper."""
    logit_adjustment: Fraction = 0.0
    """Takes this much of the labels' frequencies out of what is learnt, so that rare
    classes are found: 0 minimises wrong pixels [paper], 1 the mean error of classes
    (Menon et al., ICLR 2021)."""
    loss_stride: Literal[1, 2, 4, 8] = 1
    """The loss reads every n-th pixel of each row and column."""
    colour_jitter: NonNegativeFloat = 0.3


class Predict(Schema):
    """The protocol of the last score.

    The plain one (one scale, no mirror, no CRF) is always scored beside it.
    """

    scales: Scales = (1.0,)
    flip: bool = False
    crf: Crf = "none"
    precision: Precision = "32"


class Evaluate(Schema):
    """Knobs of scoring."""

    cam_threshold: Fraction = 0.15
    """Constant background score of the fixed CAM score [peer]."""
    bootstrap: NonNegativeInt = 200
    """Resamplings of the images behind the 95 % interval; 0: no interval."""
    boundary_ratio: Annotated[float, Field(gt=0, le=0.1)] = 0.02
    """Width of a boundary over the image's diagonal (Cheng et al., CVPR 2021)."""


class Report(Schema):
    """Knobs of the report."""

    panels: NonNegativeInt = 24
    """Images shown with every stage."""


class Recipe(Schema):
    """One experiment from tags to scores."""

    random_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataTable
    voters: dict[Name, Voter] = Field(default_factory=dict)
    """At least one, unless the segmenter learns from the truth."""
    vote: Vote = Vote()
    segment: Segment = Segment()
    predict: Predict = Predict()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()

    @model_validator(mode="after")
    def _init_is_a_voter(self) -> "Recipe":
        name = self.segment.init_from
        if name is None:
            return self
        if name not in self.voters:
            raise ValueError(
                f"segment.init_from names no voter: {name!r}; there are "
                f"{', '.join(self.voters) or 'none'}"
            )
        if self.voters[name].backbone != self.segment.backbone:
            raise ValueError(
                f"segment.init_from: voter {name!r} has the backbone "
                f"{self.voters[name].backbone}, the segmenter {self.segment.backbone}"
            )
        return self

    @model_validator(mode="after")
    def _voters_suffice(self) -> "Recipe":
        if self.segment.labels == "truth":
            return self
        if not self.voters:
            raise ValueError("no voter: add a table such as [voters.classifier]")
        num_voters = sum(len(v.dropout) * len(v.scales) for v in self.voters.values())
        if self.segment.min_support > num_voters:
            raise ValueError(
                f"segment.min_support ({self.segment.min_support}) is more than there "
                f"are voters ({num_voters})"
            )
        return self
