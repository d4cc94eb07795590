"""The schema of a recipe: every knob with its unit, bound and source.

What changes the numbers is here; what only changes the speed is on the command line.
Relative paths are relative to the current folder, as on any command line.
Sources: [paper] and [peer] as in the method's papers and their public code, [ours]
measured or decided by this project.
"""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tag2mask.config.base import Crf, Fraction, Name, Precision, Scales, Schema
from tag2mask.config.data_schema import DataTable
from tag2mask.config.refining import Unrefined, VoteIrnet, VoteRefinerTable
from tag2mask.config.training import Training
from tag2mask.config.voters import VoterTable


class Vote(Schema):
    """How seeds are joined."""

    tie: Literal["lowest_id"] = "lowest_id"
    """A tie goes to the lowest class id, hence to background first."""
    refine: VoteRefinerTable = Unrefined()
    """What becomes of the voted labels. A pixel keeps as much support as voters gave it
    the label that it ends with."""


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
    voters: dict[Name, VoterTable] = Field(default_factory=dict)
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
        num_voters = sum(each.num_voters for each in self.voters.values())
        for name, voter in self.voters.items():
            if voter.seed.alpha == "agreement" and num_voters < 2:
                raise ValueError(
                    f"voters.{name}.seed.alpha = 'agreement' needs another voter to "
                    f"agree with: add one, or choose 'otsu'"
                )
        supports = {"segment.min_support": self.segment.min_support}
        if isinstance(self.vote.refine, VoteIrnet):
            supports["vote.refine.min_support"] = self.vote.refine.min_support
        for key, min_support in supports.items():
            if min_support > num_voters:
                raise ValueError(
                    f"{key} ({min_support}) is more than there are voters "
                    f"({num_voters})"
                )
        return self
