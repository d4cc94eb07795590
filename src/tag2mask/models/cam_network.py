"""A classifier whose head can be read as one activation map per tag."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.models.backbones import Backbone


class CamNetwork(nn.Module):
    """Backbone, channel dropout, bias-free 1x1 head (multi-seed, eq. 1-2).

    Args:
        backbone: Gives the feature map f.
        num_tags: Classes without background.
        dropout: Probability of dropping a whole channel of f while training.
            Elementwise dropout would average out in the pooling.
    """

    def __init__(self, backbone: Backbone, *, num_tags: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
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


def multi_label_loss(
    logits: Float[Tensor, "b t"], tags: Float[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Return the multi-label soft-margin loss (multi-seed, eq. 1).

    Args:
        logits: One per image and tag.
        tags: 1 where the image has the tag, else 0.
    """
    return torch.nn.functional.multilabel_soft_margin_loss(logits, tags)
