"""Segmenters on disk: what a network is, its weights, and its class names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tag2mask.artifacts.files import write_json
from tag2mask.errors import ModelError
from tag2mask.models.backbones import Backbone, make_backbone
from tag2mask.models.deeplab import ASPP_RATES, LARGE_FOV_RATE, DeepLab
from tag2mask.models.segmenter_card import read_card
from tag2mask.models.transformer_segmenters import (
    Mask2Former,
    SegFormer,
    make_mask2former,
    make_segformer,
)
from tag2mask.models.weights import load_module

CARD = "model.json"
WEIGHTS = "weights.safetensors"
_RATES = {"deeplab_v1": (LARGE_FOV_RATE,), "deeplab_v2": ASPP_RATES}
_STRIDE_OF_RATES = 8

NetworkName = Literal["deeplab_v1", "deeplab_v2"]
SegmenterNetwork = DeepLab | SegFormer | Mask2Former
"""Each has parts ``backbone``, with the mean colour of its inputs, and ``head``."""


class Segmenter(NamedTuple):
    """A trained segmenter.

    Attributes:
        network: From RGB images in [0, 1] to logits, in evaluation mode.
        class_names: By class id, background first.
        card: Everything else that is known of it, such as ``init``.
    """

    network: SegmenterNetwork
    class_names: tuple[str, ...]
    card: Mapping[str, Any]


def make_network(
    backbone: Backbone,
    network: NetworkName,
    *,
    num_classes: int,
    rates: Sequence[int] | None = None,
    dropout: float = 0.0,
    neck: int = 0,
) -> DeepLab:
    """Put the heads of a DeepLab on a backbone.

    Args:
        backbone: Gives the feature map.
        network: DeepLabV1 or V2.
        num_classes: Background included.
        rates: Dilation of each branch; None: those of the paper, which are for output
            stride 8, changed to reach as many pixels of the image at another stride.
        dropout: Of the backbone's channels, while training.
        neck: Channels that the heads read; 0: the backbone's.
    """
    shrink = _STRIDE_OF_RATES / backbone.output_stride
    chosen = tuple(rates or (round(rate * shrink) for rate in _RATES[network]))
    return DeepLab(
        backbone, num_classes=num_classes, rates=chosen, dropout=dropout, neck=neck
    )


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write what ``load_segmenter`` needs beside the weights.

    Args:
        folder: Where weights.safetensors is or will be.
        card: With ``network`` and ``class_names``; of a DeepLab ``backbone``,
            ``backbone_options``, ``output_stride``, ``dilate``, ``rates`` and ``neck``,
            of a SegFormer ``variant`` and ``options``, of a Mask2Former these and
            ``backbone_options``; more may follow.
    """
    write_json(folder / CARD, dict(card))


def load_segmenter(folder: Path | str) -> Segmenter:
    """Load a segmenter from the folder of its card and weights.

    Raises:
        ModelError: If the folder holds no segmenter, the weights do not fit, or
            transformers is needed and not installed.
    """
    folder = Path(folder)
    if not (folder / CARD).exists():
        raise ModelError(
            f"{folder} holds no segmenter: expected {CARD} and {WEIGHTS} in it"
        )
    card = read_card(folder / CARD)
    class_names = tuple(card["class_names"])
    network = _rebuild(card, num_classes=len(class_names))
    load_module(network, folder / WEIGHTS, name=f"{card['network']} of {folder}")
    return Segmenter(network.eval(), class_names, card)


def _rebuild(card: Mapping[str, Any], *, num_classes: int) -> SegmenterNetwork:
    """Build the network of a card, with any weights."""
    if card["network"] == "segformer":
        return make_segformer(
            card["variant"], num_classes=num_classes, options=card["options"]
        )
    if card["network"] == "mask2former":
        return make_mask2former(
            card["variant"],
            num_classes=num_classes,
            backbone_options=card["backbone_options"],
            options=card["options"],
        )
    backbone = make_backbone(
        card["backbone"],
        weights="none",
        output_stride=card["output_stride"],
        dilate=card["dilate"],
        options=card["backbone_options"],
    )
    return make_network(
        backbone,
        card["network"],
        num_classes=num_classes,
        rates=card["rates"],
        neck=card["neck"],
    )
