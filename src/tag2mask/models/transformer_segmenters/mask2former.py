"""Mask2Former on Swin (Cheng et al., CVPR 2022), read as a map of classes."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.functional.query_maps import semantic_logits
from tag2mask.models.image_text.hub import load_config, load_network
from tag2mask.models.transformer_segmenters.encoder import (
    Encoder,
    build,
    segmenter_library,
)
from tag2mask.models.transformer_segmenters.variants import (
    SWIN_WEIGHTS,
    Options,
    SwinVariant,
    make_config,
    swin_settings,
)


class Queries(NamedTuple):
    """What the queries say after each layer of the decoder.

    Attributes:
        classes: Logits, "no object" last.
        masks: Logits at stride 4.
    """

    classes: Float[Tensor, "layers b q classes"]
    masks: Float[Tensor, "layers b q fh fw"]


class MaskHead(nn.Module):
    """From feature maps to queries with classes and masks.

    Args:
        model: ``Mask2FormerModel``, whose decoders are taken.
        num_classes: Background included.
    """

    def __init__(self, model: Any, *, num_classes: int) -> None:  # noqa: ANN401
        super().__init__()
        self.pixels = model.pixel_level_module.decoder
        self.queries = model.transformer_module
        self.classes = nn.Linear(model.config.hidden_dim, num_classes + 1)
        nn.init.normal_(self.classes.weight, std=model.config.init_std)
        nn.init.zeros_(self.classes.bias)

    def forward(self, maps: tuple[Tensor, ...]) -> Queries:
        """Return the queries after each layer, those before the first included."""
        pixels = self.pixels(maps)
        found = self.queries(
            multi_scale_features=pixels.multi_scale_features,
            mask_features=pixels.mask_features,
            output_hidden_states=True,
        )
        states = torch.stack(found.intermediate_hidden_states)
        return Queries(
            self.classes(states.transpose(1, 2)),
            torch.stack(found.masks_queries_logits),
        )


class Mask2Former(nn.Module):
    """A Swin Transformer and queries that each claim a mask.

    Args:
        model: ``Mask2FormerModel``, which is taken apart.
        num_classes: Background included.
    """

    def __init__(self, model: Any, *, num_classes: int) -> None:  # noqa: ANN401
        super().__init__()
        self.backbone = Encoder(model.pixel_level_module.encoder, _read)
        self.head = MaskHead(model, num_classes=num_classes)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], *, as_queries: bool = False
    ) -> Float[Tensor, "b k fh fw"] | Queries:
        """Return logits at stride 4 of RGB images in [0, 1].

        Args:
            images: Of any size.
            as_queries: Return what the queries say instead, for the loss.
        """
        queries: Queries = self.head(self.backbone(images))
        if as_queries:
            return queries
        return semantic_logits(queries.classes[-1], queries.masks[-1])


def _read(net: Any, images: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
    return tuple(net(images).feature_maps)


def make_mask2former(
    variant: SwinVariant,
    *,
    num_classes: int,
    weights: str = "none",
    backbone_options: Options | None = None,
    options: Options | None = None,
) -> Mask2Former:
    """Build a Mask2Former.

    Args:
        variant: Size of the encoder.
        num_classes: Background included.
        weights: Of the encoder: ``hub`` (the variant's, of ImageNet), ``none``, a name
            on the hub, or a folder that ``save_pretrained`` wrote, of a Swin or of a
            Mask2Former. The decoders always start anew.
        backbone_options: Fields of ``SwinConfig`` that differ from the variant.
        options: Fields of ``Mask2FormerConfig`` that differ from its defaults.

    Raises:
        ModelError: If transformers is not installed, an option does not fit, or the
            weights cannot be had or are of another network.
    """
    transformers = segmenter_library()
    swin = make_config(
        transformers.SwinConfig,
        swin_settings(variant),
        backbone_options or {},
        key="backbone_options",
    )
    config = make_config(
        transformers.Mask2FormerConfig,
        {"backbone_config": swin},
        options or {},
        key="options",
    )
    network = build(
        lambda: Mask2Former(
            transformers.Mask2FormerModel(config), num_classes=num_classes
        ),
        name=f"mask2former {variant}",
        key="options or backbone_options",
    )
    if weights != "none":
        name = SWIN_WEIGHTS[variant] if weights == "hub" else weights
        network.backbone.net = _load_swin(transformers, name, swin, config)
    return network


def _load_swin(
    transformers: Any,  # noqa: ANN401
    name: str,
    swin: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
) -> nn.Module:
    """Load the encoder of a Swin, or of a whole Mask2Former."""
    if load_config(name).model_type == "mask2former":
        whole = load_network(transformers.Mask2FormerModel, name, config)
        encoder: nn.Module = whole.pixel_level_module.encoder
        return encoder
    # the norms of the maps are of segmentation, which ImageNet has not trained
    loaded: nn.Module = load_network(
        transformers.SwinBackbone, name, swin, unused=("hidden_states_norms",)
    )
    return loaded
