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
    PositiveInt,
    model_validator,
)

from tag2mask.config.base import Crf, Fraction, Name, Schema
from tag2mask.config.data_schema import DataTable
from tag2mask.config.predicting import Predict
from tag2mask.config.refining import (
    Irnet,
    Unrefined,
    VoteIrnet,
    VoteRefiner,
    VoteRefinerTable,
    VoterRefiner,
)
from tag2mask.config.segmenters import DeepLab, SegmentTable
from tag2mask.config.voters import TextCam, VoterTable

Text = Annotated[str, Field(min_length=1)]


class Vote(Schema):
    """How seeds are joined."""

    mode: Literal["labels", "scores"] = "labels"
    """``labels``: what most seeds say [paper]; ``scores``: the mean of the voters'
    score maps, each with its background score, then one CRF [ours]. Support is the
    number of seeds that say so in either case."""
    tie: Literal["lowest_id", "probability"] = "lowest_id"
    """Where labels tie: the lowest class id, hence background first, or the class with
    the highest sum of the voters' normalised scores, then the lowest id."""
    voters: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Who may vote: names of tables or of single voters, such as
    ``classifier-0.05-1``; none: all."""
    weights: dict[Text, NonNegativeFloat] = Field(default_factory=dict)
    """Of voters, by name of a table or of a single voter, which goes first; 1 if not
    named, and 0 is absent [ours]."""
    select: Literal["all", "agreement", "oracle"] = "all"
    """Which of these vote: those solely best in at least one class, by IoU with the
    vote of the others (``agreement``, of at least three [ours]) or with the ground
    truth of the train split (``oracle`` [paper]: every score after it says so)."""
    crf: Crf = "seeds"
    """Of ``scores``."""
    crf_shrink: Literal[1, 2, 4] = 1
    """Of ``scores``: run the CRF on an image this many times smaller."""
    refine: VoteRefinerTable = Unrefined()
    """What becomes of the voted labels. A pixel then has as much support as voters gave
    it the label that it ends with."""


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
    clean_at: tuple[PositiveInt, ...] = ()
    """Numbers of votes whose clean pixels are shown beside those of
    ``segment.min_support`` (multi-seed, figure 6)."""


class Recipe(Schema):
    """One experiment from tags to scores."""

    random_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of first weights, order, augmentation and all else that is drawn."""
    data: DataTable
    """The images and their tags."""
    voters: dict[Name, VoterTable] = Field(default_factory=dict)
    """At least one, unless the segmenter learns from the truth."""
    vote: Vote = Vote()
    """How seeds are joined."""
    segment: SegmentTable = DeepLab()
    """The network that learns from the vote."""
    predict: Predict = Predict()
    """How images are labelled for the last score."""
    evaluate: Evaluate = Evaluate()
    """How label maps are scored."""
    report: Report = Report()
    """What the report shows."""

    @model_validator(mode="after")
    def _init_is_a_voter(self) -> "Recipe":
        if not isinstance(self.segment, DeepLab) or self.segment.init_from is None:
            return self
        name = self.segment.init_from
        if name not in self.voters:
            raise ValueError(
                f"segment.init_from names no voter: {name!r}; there are "
                f"{', '.join(self.voters) or 'none'}"
            )
        voter = self.voters[name]
        if isinstance(voter, TextCam):
            raise ValueError(
                f"segment.init_from: voter {name!r} trains no network to start from"
            )
        if voter.backbone != self.segment.backbone:
            raise ValueError(
                f"segment.init_from: voter {name!r} has the backbone "
                f"{voter.backbone}, the segmenter {self.segment.backbone}"
            )
        if voter.backbone_options != self.segment.backbone_options:
            raise ValueError(
                f"segment.init_from: voter {name!r} has backbone_options "
                f"{voter.backbone_options or 'none'}, the segmenter "
                f"{self.segment.backbone_options or 'none'}: its inputs would be other "
                f"than those that the weights learnt from; set both alike"
            )
        return self

    @property
    def min_supports(self) -> dict[str, int]:
        """Votes that make a label count, by the key that says so."""
        supports = {"segment.min_support": self.segment.min_support}
        if isinstance(self.vote.refine, VoteIrnet):
            supports["vote.refine.min_support"] = self.vote.refine.min_support
        return supports

    @model_validator(mode="after")
    def _truth_is_not_mended(self) -> "Recipe":
        if self.segment.labels == "truth" and self.segment.second_round is not None:
            raise ValueError(
                "segment.second_round labels anew what voters said; with "
                "segment.labels = 'truth' set it to false, and double segment.steps"
            )
        return self

    @model_validator(mode="after")
    def _irnets_have_a_backbone(self) -> "Recipe":
        tables: dict[str, tuple[VoterRefiner | VoteRefiner, bool]] = {
            f"voters.{name}.refine": (voter.refine, isinstance(voter, TextCam))
            for name, voter in self.voters.items()
        }
        untrained = [lacks for _, lacks in tables.values()]
        tables["vote.refine"] = (self.vote.refine, all(untrained))
        for key, (table, lacks) in tables.items():
            if isinstance(table, Irnet) and table.network is None and lacks:
                raise ValueError(
                    f"{key}: there is no trained network whose backbone IRNet could "
                    f"read; give it one: {key}.network = {{ backbone = 'resnet50' }}"
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
        for key, min_support in self.min_supports.items():
            if min_support > num_voters:
                raise ValueError(
                    f"{key} ({min_support}) is more than there are voters "
                    f"({num_voters})"
                )
        if self.vote.select == "agreement" and num_voters < 3:
            raise ValueError(
                f"vote.select = 'agreement' needs at least 3 voters, each of which is "
                f"compared with the vote of the others; there are {num_voters}"
            )
        return self
