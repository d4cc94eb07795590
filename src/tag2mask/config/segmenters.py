"""Segmenters: which network learns from the labels, and by which loss."""

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
)

from tag2mask.config.base import Fraction, Name, Scales, kind_told_by
from tag2mask.config.predicting import SecondRound
from tag2mask.config.training import Course, Training
from tag2mask.models.deeplab import NECK_GROUPS, WIDEST_NECK
from tag2mask.models.transformer_segmenters import MitVariant, SwinVariant

Options = dict[str, bool | int | float | str | list[int]]


def _switch(value: object) -> object:
    """Let a table of a recipe be switched on and off by one word."""
    return {} if value is True else None if value is False else value


class Segment(Course):
    """What every segmenter has: what it learns from, and by which loss."""

    labels: Literal["vote", "truth"] = "vote"
    """``truth`` trains the fully supervised ceiling; its score says so."""
    loss: Literal["positive_negative", "cross_entropy"] = "positive_negative"
    """``positive_negative`` learns what noisy pixels are not [paper]; ``cross_entropy``
    believes every label."""
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
    """Probability in the weights of the losses: ``constrained``, that of their
    logarithms, as eq. 5 needs it [ours]; ``plain``, as eq. 8 and 9 are printed [paper];
    ``eq4`` has no constraint in either."""
    cross_entropy_share: Fraction = 0.5
    """Share of the steps, the first ones, that learn by cross-entropy: from scratch the
    constrained loss calls all background on short schedules [ours]; 0 in the paper."""
    logit_adjustment: Fraction = 0.0
    """Takes this much of the labels' frequencies out of what is learnt, so that rare
    classes are found: 0 minimises wrong pixels [paper], 1 the mean error of classes
    (Menon et al., ICLR 2021)."""
    loss_stride: Literal[1, 2, 4, 8] = 1
    """The loss reads every n-th pixel of each row and column."""
    loss_scales: Scales = (1.0,)
    """Sizes at which the network sees each image. Of several, the losses are summed,
    and that of the largest logit of all is added: 1, 0.75, 0.5 in DeepLab v2."""
    colour_jitter: NonNegativeFloat = 0.3
    """Greatest relative change of brightness, contrast and saturation [peer]."""
    second_round: Annotated[SecondRound | None, BeforeValidator(_switch)] = None
    """If a table, or ``true``: the segmenter labels the train split anew, its tags
    known, and learns as many steps again, from where it is [ours]. ``false`` is none.
    """


class DeepLab(Segment, Training):
    """DeepLabV1 or V2 on a timm backbone."""

    network: Literal["deeplab_v1", "deeplab_v2"] = "deeplab_v2"
    """V2 sums four branches; V1 has one [paper]."""
    rates: tuple[PositiveInt, ...] | None = None
    """Dilation of each branch of the head, pixels of the feature map; none: those of
    the paper, 12 for V1 and 6, 12, 18, 24 for V2 at output stride 8, half of them at
    16. Taps beyond the crop learn nothing: small crops want smaller rates."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropping a channel of the backbone's while training."""
    neck: Annotated[int, Field(ge=0, le=WIDEST_NECK, multiple_of=NECK_GROUPS)] = 0
    """Channels that a 1x1 convolution, group norm and ReLU leave of the backbone's for
    the head, which then has fewer weights and fits small data better [ours]; 0: the
    head reads the backbone [paper]."""
    init_from: Name | None = None
    """Voter whose trained backbone the segmenter starts from, the network of its first
    dropout; none: ``weights``. It has learnt the tags, which short schedules lack
    [ours]."""


class Transformer(Segment):
    """What the segmenters of transformers have in common."""

    freeze: tuple[str, ...] = ()
    """Parts of the encoder that do not train."""
    weights: str = "hub"
    """Of the encoder: ``hub`` (the variant's, of ImageNet), ``none``, a name on the
    hub, or a folder that ``save_pretrained`` wrote. The decoder starts anew."""
    crop: Annotated[int, Field(ge=32, le=2048)] = 512
    optimizer: Literal["sgd", "adamw"] = "adamw"


class Segformer(Transformer):
    """SegFormer."""

    network: Literal["segformer"]
    variant: MitVariant = "b2"
    """Size of the encoder; ``b2`` [paper]."""
    options: Options = Field(default_factory=dict)
    """Fields of transformers' ``SegformerConfig`` that differ from the variant."""
    learning_rate: PositiveFloat = 6e-5
    """Of the encoder."""
    weight_decay: NonNegativeFloat = 0.01
    """How much of each weight a step of unit learning rate takes away [peer]."""
    power: PositiveFloat = 1.0
    """Exponent of the poly schedule."""
    warmup: Annotated[int, Field(ge=0)] = 1500
    """Steps in which the learning rate rises linearly from nothing."""


class Mask2Former(Transformer):
    """Mask2Former on a Swin Transformer."""

    network: Literal["mask2former"]
    variant: SwinVariant = "swin-large"
    """Size of the encoder; ``swin-large`` [paper]."""
    backbone_options: Options = Field(default_factory=dict)
    """Fields of transformers' ``SwinConfig`` that differ from the variant."""
    options: Options = Field(default_factory=dict)
    """Fields of transformers' ``Mask2FormerConfig`` that differ from its defaults."""
    learning_rate: PositiveFloat = 1e-5
    """Of the encoder, a tenth of the rest."""
    weight_decay: NonNegativeFloat = 0.05
    clip_norm: PositiveFloat | None = 0.01
    """Greatest norm of the gradient [paper]."""
    num_points: PositiveInt = 12_544
    """Pixels at which a mask is compared with the labels [paper]."""
    set_weight: NonNegativeFloat = 1.0
    """Of the set loss, beside the pixels' loss [ours]."""


Segmenter = DeepLab | Segformer | Mask2Former


network_of = kind_told_by("network", "deeplab_v2")
"""The network that a table names."""

SegmentTable = Annotated[
    Annotated[DeepLab, Tag("deeplab_v1")]
    | Annotated[DeepLab, Tag("deeplab_v2")]
    | Annotated[Segformer, Tag("segformer")]
    | Annotated[Mask2Former, Tag("mask2former")],
    Discriminator(network_of),
]
KINDS: dict[str, type[Segment]] = {
    "deeplab_v1": DeepLab,
    "deeplab_v2": DeepLab,
    "segformer": Segformer,
    "mask2former": Mask2Former,
}


def shared_keys() -> set[str]:
    """Return the keys that mean the same whatever the network is.

    Rates, steps and sizes do not: they are those of one network.
    """
    return set(Segment.model_fields) - set(Course.model_fields)
