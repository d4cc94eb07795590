"""A classifier whose head can be read as one activation map per tag."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.models.backbones import Backbone
from tag2mask.models.channel_dropout import ChannelDropout
from tag2mask.models.resnet38d import set_last_dropout


class CamNetwork(nn.Module):
    """Backbone, channel dropout, bias-free 1x1 head (multi-seed, eq. 1-2).

    Args:
        backbone: Gives the feature map f.
        num_tags: Classes without background.
        dropout: Probability of dropping a whole channel while training.
        dropout_layer: ``dropout7`` drops channels of f. ``b7`` drops them within the
            last block of ResNet38d instead, whose own 0.5 it replaces.

    Attributes:
        last_dropouts: What ``dropout`` is of.

    Raises:
        ModelError: If the backbone has no b7 and it is asked for.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_tags: int,
        dropout: float,
        dropout_layer: Literal["dropout7", "b7"] = "dropout7",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        is_last = dropout_layer == "dropout7"
        num_channels = backbone.num_channels
        self.dropout = ChannelDropout(dropout if is_last else 0.0, num_channels)
        self.last_dropouts = (
            [self.dropout] if is_last else set_last_dropout(backbone.net, dropout)
        )
        self.head = nn.Conv2d(backbone.num_channels, num_tags, 1, bias=False)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t"]:
        """Return one logit per tag: the spatial mean of the logit maps."""
        return self.logit_maps(images).mean(dim=(2, 3))

    def logit_maps(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b t fh fw"]:
        """Return w_k . f for every tag k, before ReLU and normalisation."""
        maps: Tensor = self.head(self.dropout(self.backbone(images)))
        return maps


class SaliencyNetwork(CamNetwork):
    """A CAM network whose head has a background before the tags (EPS).

    The background is for the loss only: ``without_background`` is what it trains.

    Args:
        backbone: As of ``CamNetwork``.
        num_tags: Likewise.
        dropout: Likewise.
        dropout_layer: Likewise.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_tags: int,
        dropout: float,
        dropout_layer: Literal["dropout7", "b7"] = "dropout7",
    ) -> None:
        super().__init__(
            backbone,
            num_tags=num_tags + 1,
            dropout=dropout,
            dropout_layer=dropout_layer,
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k fh fw"]:
        """Return the logit maps of background and tags."""
        return self.logit_maps(images)

    def without_background(self, network: CamNetwork) -> None:
        """Give ``network``, on the same backbone, the tags' part of the head."""
        with torch.no_grad():
            network.head.weight.copy_(self.head.weight[1:])


def multi_label_loss(
    logits: Float[Tensor, "b t"], tags: Float[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Return the multi-label soft-margin loss (multi-seed, eq. 1).

    Args:
        logits: One per image and tag.
        tags: 1 where the image has the tag, else 0.
    """
    return torch.nn.functional.multilabel_soft_margin_loss(logits, tags)
