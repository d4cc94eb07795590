"""Refiners: what becomes of label maps before the vote, or after it.

Every table of this kind names a method; without one labels stay as they are.
"""

from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from tag2mask.config.base import Crf, Schema, kind_told_by
from tag2mask.config.training import Course, Network

Shrink = Literal[1, 2, 4]
Certainty = Annotated[float, Field(gt=0, le=1)]


class Unrefined(Schema):
    """Labels stay as they are."""

    method: Literal["none"] = "none"


class LabelCrf(Schema):
    """A dense CRF of hard labels.

    Seeds have another one, of scores, before they are labels: ``seed.crf``.
    """

    method: Literal["crf"]
    preset: Literal["seeds", "irnet", "deeplab"] = "irnet"
    """Of the dense CRF."""
    certainty: Certainty = 0.7
    """Probability that a label is right [peer]."""
    crf_shrink: Shrink = 1
    """Run the CRF on an image this many times smaller."""


class IrnetLabels(Schema):
    """Which pixels of activation maps IRNet learns from; the others are unknown."""

    source: Literal["cams", "seeds"] = "cams"
    """``cams``: two thresholds, as below [peer]. ``seeds``: the voter's seeds as they
    are, for which the knobs below mean nothing; every pixel is known [ours]."""
    foreground: Annotated[float, Field(gt=0, lt=1)] = 0.30
    """Activation of a confident object, which a CRF of hard labels then moves [peer].
    """
    background: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Activation below which a pixel is confident background, likewise; 0.10 in CLIMS
    [peer]."""
    crf: Crf = "irnet"
    """Preset of the dense CRF that makes them."""
    certainty: Certainty = 0.7
    """Probability that a hard label is right, as the CRF takes it [peer]."""
    crf_shrink: Shrink = 1
    """Run the CRF on an image this many times smaller."""

    @model_validator(mode="after")
    def _background_is_weaker(self) -> "IrnetLabels":
        if self.background > self.foreground:
            raise ValueError(
                f"background ({self.background}) must not exceed foreground "
                f"({self.foreground})"
            )
        return self


class Walk(Schema):
    """A random walk of activation between boundaries."""

    radius: Annotated[int, Field(ge=1, le=32)] = 5
    """Neighbours lie nearer than this, in pixels of the maps: a quarter of the image's
    [peer]."""
    beta: NonNegativeFloat = 10.0
    """Exponent of the affinity: the larger, the more a boundary stops [peer]."""
    steps: NonNegativeInt = 256
    """[peer]"""
    damping: NonNegativeFloat = 1.0
    """Scores are multiplied by (1 - edge) to this power before they walk, 1 [peer];
    0 leaves them: objects a few pixels of the maps wide are all edge [ours]."""


class Irnet(Course):
    """IRNet: boundaries learnt from labels, and a walk of activation between them.

    Steps are those of 3 rounds over the 10,582 images of VOC [peer].
    """

    method: Literal["irnet"]
    network: Network | None = None
    """The frozen backbone; none: that of the voter, as it was trained; after the vote
    that of the first voter that trains one. ``{ backbone = "resnet50" }`` [peer]."""
    displacement: bool = False
    """Also train the displacement head, which takes no part in semantic labels."""
    radius: Annotated[int, Field(ge=2, le=64)] = 10
    """Pairs that train lie nearer than this, in pixels at a quarter of the image's
    size [peer]."""
    steps: PositiveInt = 992
    batch: PositiveInt = 32
    crop: Annotated[int, Field(ge=32, le=2048)] = 512
    rescale: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.5)
    learning_rate: PositiveFloat = 0.1
    """Of the edge head; the displacement head has ``head_factor`` times as much."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NonNegativeFloat = 1e-4
    walk: Walk = Walk()
    """How far scores walk."""
    background: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Score of background beside those of the walk; 0.20 in CLIMS [peer]."""
    alpha: PositiveFloat | Literal["seed"] | None = None
    """Background score (1 - max M)^alpha, as of seeds, in place of the constant;
    ``seed``: that of the voter's own seeds, found or given; after a vote the unweighted
    mean of the exponents of its voters' seeds [ours]."""
    crf: Crf = "none"
    """Of the walk's scores."""
    crf_shrink: Shrink = 1
    """Run that CRF on an image this many times smaller."""


class VoterIrnet(Irnet):
    """IRNet that learns from a voter's activation maps."""

    labels: IrnetLabels = IrnetLabels()
    """What the network learns from."""


class VoteIrnet(Irnet):
    """IRNet that learns from a vote, and lets the mean of all voters' maps walk."""

    min_support: Annotated[int, Field(ge=1, le=255)] = 2
    """Votes that make a label one to learn from [ours]."""


VoterRefiner = Unrefined | LabelCrf | VoterIrnet
VoteRefiner = Unrefined | LabelCrf | VoteIrnet


method_of_refiner = kind_told_by("method", "none")
"""The method that a table of a refiner names."""

VoterRefinerTable = Annotated[
    Annotated[Unrefined, Tag("none")]
    | Annotated[LabelCrf, Tag("crf")]
    | Annotated[VoterIrnet, Tag("irnet")],
    Discriminator(method_of_refiner),
]
VoteRefinerTable = Annotated[
    Annotated[Unrefined, Tag("none")]
    | Annotated[LabelCrf, Tag("crf")]
    | Annotated[VoteIrnet, Tag("irnet")],
    Discriminator(method_of_refiner),
]
