"""Voters: where a first label map of an image comes from."""

from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from tag2mask.config.base import Dropouts, Fraction, Scales, Schema, kind_told_by
from tag2mask.config.image_text import (
    ClipModel,
    DenseImageTextTable,
    Gate,
    ImageTextTable,
    Prompts,
)
from tag2mask.config.maps import CamInference, Seeding, TextViews
from tag2mask.config.refining import Unrefined, VoterRefinerTable
from tag2mask.config.training import Schedule, Training
from tag2mask.data.classes import TEMPLATES
from tag2mask.models.resnet38d import FROZEN, RESNET38D


class Saliency(Schema):
    """Maps of what stands out, as a second teacher of a classifier (EPS, CVPR 2021)."""

    folder: str
    """Folder of grey pictures as large as the images, below ``data.root``: 255 stands
    out. One for each image of the train split."""
    tau: Fraction = 0.4
    """Least share of a tag's map on what stands out; with less it is none of it
    [paper]."""
    balance: Fraction = 0.5
    """Share of the foreground in the estimate, lambda [paper]."""


class Classifier(Training):
    """A voter: the activation maps of a multi-label classifier (multi-seed, eq. 1-2).

    Each dropout is a network of its own, or a way to read the first; each scale is
    another reading of it. Every pair is one voter, named NAME-dropout-scale.
    """

    method: Literal["classifier"] = "classifier"
    output_stride: Literal[8, 16, 32] = 8
    steps: PositiveInt = 20_000
    batch: PositiveInt = 8
    rescale: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.0)
    learning_rate: PositiveFloat = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of SGD: the programs of the field run without any [peer]."""
    dropout: Dropouts = (0.05, 0.10, 0.20, 0.30)
    """Probability of dropping a channel before the head [paper]."""
    dropout_layer: Literal["auto", "dropout7", "b7"] = "auto"
    """``dropout7`` is before the head, ``b7`` within the last block of ``resnet38d``,
    whose own 0.5 it replaces. ``auto``: dropout7, but b7 where ``resnet38d`` learns
    from saliency, as the network of EPS has no other [peer]."""
    mode: Literal["train", "mc"] = "train"
    """``train``: a network for each dropout [paper]. ``mc``: one, trained with the
    first dropout, of which each voter reads every image without some channels: a
    quarter of the trainings [ours]."""
    saliency: Saliency | None = None
    """None: tags alone."""
    scales: Scales = (1.0, 1.2)
    """Input scale of each voter; multiplies every scale of ``cam`` [paper]."""
    cam: CamInference = CamInference()
    """How its maps are read."""
    seed: Seeding = Seeding()
    """How its maps become labels."""
    refine: VoterRefinerTable = Unrefined()
    """What becomes of the seeds before they vote."""

    @property
    def num_voters(self) -> int:
        """How many ballots the table casts."""
        return len(self.dropout) * len(self.scales)

    @property
    def last_dropout(self) -> Literal["dropout7", "b7"]:
        """Which layer ``dropout`` is of."""
        if self.dropout_layer != "auto":
            return self.dropout_layer
        has_b7 = self.backbone == RESNET38D
        return "b7" if has_b7 and self.saliency is not None else "dropout7"

    @model_validator(mode="after")
    def _layer_is_there(self) -> "Classifier":
        if self.dropout_layer == "b7" and self.backbone != RESNET38D:
            raise ValueError(
                f"dropout_layer = 'b7' is a block of {RESNET38D}; the backbone "
                f"{self.backbone} has 'dropout7' only"
            )
        return self


class TagTraining(Schedule):
    """Training on tags alone, before the image-text model takes over [peer]."""

    freeze: tuple[str, ...] = ("conv1", "bn1", "layer1", "layer2")
    steps: PositiveInt = 3_307
    """Five rounds over the 10,582 images of VOC."""
    batch: PositiveInt = 16
    crop: Annotated[int, Field(ge=32, le=2048)] = 512
    rescale: tuple[PositiveFloat, PositiveFloat] = (0.64, 1.28)
    """Long sides of 320 to 640 of VOC's 500 pixels [peer]."""
    learning_rate: PositiveFloat = 0.1
    """Of the backbone, at its highest [peer]."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NonNegativeFloat = 1e-4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropping a channel before the head, while training [peer]."""


class TextTaught(Training):
    """A voter whose maps are trained by a frozen image-text model."""

    image_text: ImageTextTable = ClipModel()
    """The frozen model that teaches."""
    prompts: Prompts = Prompts()
    """What it is asked."""
    warm_start: bool = True
    """Start from ``classifier``, which has learnt the tags, else from ``weights``."""
    classifier: TagTraining = TagTraining()
    """The training before, on tags; with ``warm_start`` only."""
    normalise: Literal["model", "imagenet"] = "model"
    """Whose mean colour masked pixels have [ours]; ``imagenet`` [peer]."""
    pairs_at_once: PositiveInt = 64
    """Pairs of image and tag that are encoded together; more are encoded in turn, and
    once more for the gradient, which bounds the memory."""
    freeze: tuple[str, ...] = ("conv1", "bn1")
    steps: PositiveInt = 13_228
    """Twenty rounds over the 10,582 images of VOC [paper]."""
    batch: PositiveInt = 16
    crop: Annotated[int, Field(ge=32, le=2048)] = 512
    rescale: tuple[PositiveFloat, PositiveFloat] = (0.64, 1.28)
    """Long sides of 320 to 640 of VOC's 500 pixels [peer]."""
    learning_rate: PositiveFloat = 2.5e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The ancestors' programs give weight decay in its place, hence none [peer]."""
    weight_decay: NonNegativeFloat = 1e-4
    """As of all trainings [paper]."""
    schedule: Literal["poly", "cosine"] = "cosine"
    freeze_batch_norm: bool = False
    scales: Scales = (1.0,)
    """Input scale of each voter; multiplies every scale of ``cam``."""
    cam: CamInference = CamInference()
    """How its maps are read."""
    seed: Seeding = Seeding()
    """How its maps become labels."""
    refine: VoterRefinerTable = Unrefined()
    """What becomes of the seeds before they vote."""

    @property
    def num_voters(self) -> int:
        """How many ballots the table casts."""
        return len(self.scales)

    @model_validator(mode="after")
    def _classifier_freezes_as_published(self) -> "TextTaught":
        table = self.classifier
        if self.backbone == RESNET38D and "freeze" not in table.model_fields_set:
            frozen = table.model_copy(update={"freeze": FROZEN})
            object.__setattr__(self, "classifier", frozen)
        return self


class CaClWeights(Schema):
    """Weights of the losses of CA-CL (eq. 14) [paper]."""

    contrast: NonNegativeFloat = 40.0
    """Of the contrast between a foreground and its background (eq. 7)."""
    background: NonNegativeFloat = 1.0
    """Of the suppression of background words (eq. 12)."""
    size: NonNegativeFloat = 0.4
    """Of the size prior, the mean of all maps (eq. 13)."""


class ClimsWeights(Schema):
    """Weights of the losses of CLIMS, for VOC [peer]."""

    foreground: NonNegativeFloat = 10.0
    """Of a foreground that should be close to its class."""
    background: NonNegativeFloat = 24.0
    """Of a background that should not."""
    suppression: NonNegativeFloat = 1.0
    """Of the suppression of background words."""
    size: NonNegativeFloat = 0.2
    """Of the size prior, the mean of all maps."""


class CaCl(TextTaught):
    """CA-CL: dynamic context prompts, contrast, background suppression, size prior."""

    method: Literal["ca_cl"]
    loss_weights: CaClWeights = CaClWeights()
    """Of the three losses, in their sum (eq. 14)."""
    margin: NonNegativeFloat = 0.5
    """By how much a foreground should be closer to its class than the background."""
    gate: Gate = Gate()
    """Which background words count."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of the background suppression over the images of a batch; ``sum`` [peer]."""


class Clims(TextTaught):
    """CLIMS, the baseline: logarithms of cosines and a constant threshold."""

    method: Literal["clims"]
    prompts: Prompts = Prompts(names="clims", templates=TEMPLATES[:1])
    """What the model is asked: one template, no choice [peer]."""
    loss_weights: ClimsWeights = ClimsWeights()
    """Of the four losses, in their sum."""
    gate: Gate = Gate(mode="fixed", theta=0.26)
    """Which background words count: all above a constant [peer]."""


class TextCam(Schema):
    """A voter without training: texts against the places of an image.

    The maps of an image-text model that tells what is where: the patches of a CLIP
    vision transformer (MaskCLIP: Zhou et al., ECCV 2022), the feature map of a
    classifier under ConSE. A class's text is the mean over ``prompts.templates``.
    """

    method: Literal["text_cam"]
    image_text: DenseImageTextTable = ClipModel()
    """The model whose texts and places are compared."""
    prompts: Prompts = Prompts()
    """What it is asked."""
    suppress_words: bool = False
    """Take the mean over a class's background words off its text [ours]."""
    scales: Scales = (1.0,)
    """Input scale of each voter; multiplies every scale of ``cam``."""
    cam: TextViews = TextViews()
    """How its maps are read."""
    seed: Seeding = Seeding()
    """How its maps become labels."""
    refine: VoterRefinerTable = Unrefined()
    """What becomes of the seeds before they vote."""

    @property
    def num_voters(self) -> int:
        """How many ballots the table casts."""
        return len(self.scales)


TrainedVoter = Classifier | CaCl | Clims
TextVoter = CaCl | Clims | TextCam
"""Those that read texts."""
Voter = TrainedVoter | TextCam


method_of = kind_told_by("method", "classifier")
"""The method that a table of a voter names."""

VoterTable = Annotated[
    Annotated[Classifier, Tag("classifier")]
    | Annotated[CaCl, Tag("ca_cl")]
    | Annotated[Clims, Tag("clims")]
    | Annotated[TextCam, Tag("text_cam")],
    Discriminator(method_of),
]
