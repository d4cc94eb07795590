"""DeepLab heads on any backbone (Chen et al., ICLR 2015 and PAMI 2018)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tag2mask.models.backbones import Backbone

ASPP_RATES = (6, 12, 18, 24)
LARGE_FOV_RATE = 12


class DeepLab(nn.Module):
    """Backbone and the sum of parallel dilated 3x3 classifiers.

    DeepLabV1 (LargeFOV) has one of rate 12; DeepLabV2 (ASPP) has four.

    Args:
        backbone: Gives the feature map.
        num_classes: Background included.
        rates: Dilation of each classifier, pixels of the feature map.
    """

    def __init__(
        self, backbone: Backbone, *, num_classes: int, rates: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.ModuleList(
            nn.Conv2d(backbone.num_channels, num_classes, 3, padding=r, dilation=r)
            for r in rates
        )
        for branch in self.head:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k fh fw"]:
        """Return logits at the backbone's output stride."""
        features = self.backbone(images)
        return torch.stack([branch(features) for branch in self.head]).sum(0)


def upsample(
    logits: Float[Tensor, "b k fh fw"], size: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    """Resize logits bilinearly to ``size`` (height, width)."""
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False)
