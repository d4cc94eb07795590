"""Which image-text model teaches a voter, and what it is asked."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    Tag,
)

from tag2mask.config.base import Precision, Schema, kind_told_by
from tag2mask.data.classes import TEMPLATES, NamePreset, check_template


class Encoder(Schema):
    """What image-text models have that are not tiny."""

    precision: Precision = "bf16"
    """Of the image encoder; similarities are float32."""


class ClipModel(Encoder):
    """A CLIP or SigLIP model of transformers."""

    adapter: Literal["clip"] = "clip"
    model: str = "openai/clip-vit-base-patch32"
    """Hub name or local folder [paper]."""


class OpenClipModel(Encoder):
    """A model of open_clip."""

    adapter: Literal["open_clip"] = "open_clip"
    model: str = "ViT-B-32"
    """Architecture."""
    weights: str = "openai"
    """Tag of a checkpoint that open_clip lists, or a local file."""


class ConseModel(Encoder):
    """An ImageNet classifier and sentence vectors (Norouzi et al., ICLR 2014)."""

    adapter: Literal["conse"] = "conse"
    backbone: str = "resnet50"
    """Any timm classifier."""
    backbone_options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further arguments of ``timm.create_model``."""
    weights: str = "hub"
    """``hub`` or a file."""
    class_names: str | None = None
    """File with the classifier's class names, one a line; none: timm's ImageNet."""
    sentences: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub name or local folder of a sentence encoder."""
    variant: Literal["probabilities", "weights"] = "probabilities"
    """``probabilities`` mixes the sentence vectors of the labels; ``weights`` mixes the
    classifier's weight vectors by the similarity of the texts [ours]."""


class TinyModel(Schema):
    """The small model that is shipped, which knows the toy world."""

    adapter: Literal["tiny"] = "tiny"
    folder: str | None = None
    """Another one, made from pairs of image and caption."""


adapter_of = kind_told_by("adapter", "clip")
"""The adapter that a table names."""

ImageText = ClipModel | OpenClipModel | ConseModel | TinyModel
ImageTextTable = Annotated[
    Annotated[ClipModel, Tag("clip")]
    | Annotated[OpenClipModel, Tag("open_clip")]
    | Annotated[ConseModel, Tag("conse")]
    | Annotated[TinyModel, Tag("tiny")],
    Discriminator(adapter_of),
]
DenseImageText = ClipModel | ConseModel | TinyModel
"""Those that tell what is where in an image."""
DenseImageTextTable = Annotated[
    Annotated[ClipModel, Tag("clip")]
    | Annotated[ConseModel, Tag("conse")]
    | Annotated[TinyModel, Tag("tiny")],
    Discriminator(adapter_of),
]


class Prompts(Schema):
    """What stands for a class and for its backgrounds."""

    classes: str | None = None
    """A file of names and background words; none: those that are shipped."""
    names: NamePreset = "plain"
    """How the shipped classes are called."""
    templates: Annotated[
        tuple[Annotated[str, AfterValidator(check_template)], ...], Field(min_length=1)
    ] = TEMPLATES
    """Contexts to choose from, ``{}`` being the class; one is no choice [paper]."""
    words: Annotated[int, Field(ge=1, le=50)] = 5
    """Background words of each class, n [paper]."""


class Gate(Schema):
    """Which background prompts a foreground is pushed away from (eq. 10-11)."""

    mode: Literal["auto", "adaptive", "quantile", "fixed"] = "auto"
    """``auto`` is adaptive for CLIP ViT-B/32 and quantile for any other model, whose
    cosines lie elsewhere [ours]."""
    theta: float | None = None
    """Where thresholds start; ``fixed`` needs it: 0.26 for VOC, 0.285 for COCO with
    CLIP ViT-B/32 [peer]."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the prompts that should not pass [ours]."""
    rate: PositiveFloat = 0.1
    """Step of a threshold, in standard deviations of its class's cosines [ours]."""
    pull: NonNegativeFloat = 1.0
    """Weight of the pull towards that share, of ``adaptive``; without it thresholds
    rise until nothing passes [ours]."""
