"""SegFormer (Xie et al., NeurIPS 2021)."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.models.image_text.hub import load_network
from tag2mask.models.transformer_segmenters.encoder import (
    Encoder,
    build,
    segmenter_library,
)
from tag2mask.models.transformer_segmenters.variants import (
    MIT_WEIGHTS,
    MitVariant,
    Options,
    make_config,
    mit_settings,
)


class SegFormer(nn.Module):
    """A Mix Transformer and a decoder of pointwise layers.

    Args:
        net: ``SegformerForSemanticSegmentation``, which is taken apart.
    """

    def __init__(self, net: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.backbone = Encoder(net.segformer, _read)
        self.head = net.decode_head

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k fh fw"]:
        """Return logits at stride 4 of RGB images in [0, 1]."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def _read(net: Any, images: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
    return tuple(net(images, output_hidden_states=True).hidden_states)


def make_segformer(
    variant: MitVariant,
    *,
    num_classes: int,
    weights: str = "none",
    options: Options | None = None,
) -> SegFormer:
    """Build a SegFormer.

    Args:
        variant: Size of the encoder and the decoder.
        num_classes: Background included.
        weights: Of the encoder: ``hub`` (the variant's, of ImageNet), ``none``, a name
            on the hub, or a folder that ``save_pretrained`` wrote. The decoder always
            starts anew.
        options: Fields of ``SegformerConfig`` that differ from the variant.

    Raises:
        ModelError: If transformers is not installed, an option does not fit, or the
            weights cannot be had or are of another network.
    """
    transformers = segmenter_library()
    settings: Mapping[str, Any] = mit_settings(variant) | {"num_labels": num_classes}
    config = make_config(
        transformers.SegformerConfig, settings, options or {}, key="options"
    )
    network = build(
        lambda: SegFormer(transformers.SegformerForSemanticSegmentation(config)),
        name=f"segformer {variant}",
        key="options",
    )
    if weights != "none":
        name = MIT_WEIGHTS[variant] if weights == "hub" else weights
        network.backbone.net = load_network(transformers.SegformerModel, name, config)
    return network
