"""DeepLab heads on any backbone (Chen et al., ICLR 2015 and PAMI 2018)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tag2mask.models.backbones import Backbone

ASPP_RATES = (6, 12, 18, 24)
LARGE_FOV_RATE = 12
NECK_GROUPS = 16
WIDEST_NECK = 4096


class DeepLab(nn.Module):
    """Backbone and the sum of parallel dilated 3x3 classifiers.

    DeepLabV1 (LargeFOV) has one of rate 12; DeepLabV2 (ASPP) has four.

    Args:
        backbone: Gives the feature map.
        num_classes: Background included.
        rates: Dilation of each classifier, pixels of the feature map.
        dropout: Probability of dropping a whole channel of the backbone's map while
            training.
        neck: Channels, a multiple of ``NECK_GROUPS``, that a 1x1 convolution, group
            norm (as many groups) and ReLU leave of the map's [ours]; 0: no such thing.

    Attributes:
        folds_taps: Whether the branches are computed as one matrix product, which is
            the same and faster in training; exported, they are plain convolutions.
    """

    folds_taps = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        rates: tuple[int, ...],
        dropout: float = 0.0,
        neck: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
        self.neck = _neck(backbone.num_channels, neck) if neck else nn.Identity()
        channels = neck or backbone.num_channels
        self.head = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=r, dilation=r) for r in rates
        )
        for branch in self.head:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k fh fw"]:
        """Return logits at the backbone's output stride."""
        return self._classify(self.neck(self.dropout(self.backbone(images))))

    def _classify(
        self, features: Float[Tensor, "b c fh fw"]
    ) -> Float[Tensor, "b k fh fw"]:
        """Return the sum of the branches.

        One matrix product takes the features to every tap of every branch, and folding
        moves the taps to where they count: half the time of dilated convolutions with
        few outputs on a CPU (99 -> 51 ms forward and backward, 10 maps of 1280x16x16,
        bf16, 2 threads).
        """
        if not self.folds_taps:
            return torch.stack([branch(features) for branch in self.head]).sum(0)
        branches = [branch for branch in self.head if isinstance(branch, nn.Conv2d)]
        taps = [each.weight.flip(2, 3).permute(0, 2, 3, 1) for each in branches]
        weights = torch.cat([each.flatten(0, 2) for each in taps])[:, :, None, None]
        columns = functional.conv2d(features, weights).flatten(2)
        # half precision is for products, not for sums of many of them
        columns = columns.to(torch.promote_types(columns.dtype, torch.float32))
        size = (features.shape[2], features.shape[3])
        biases = [branch.bias for branch in branches if branch.bias is not None]
        logits = torch.stack(biases).sum(0).view(1, -1, 1, 1)
        for each, branch in zip(columns.chunk(len(branches), 1), branches, strict=True):
            rate = branch.dilation[0]
            folded = functional.fold(each, size, 3, dilation=rate, padding=rate)
            logits = logits + folded
        return logits


def _neck(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, bias=False),
        nn.GroupNorm(NECK_GROUPS, width),
        nn.ReLU(inplace=True),
    )


def upsample(
    logits: Float[Tensor, "b k fh fw"], size: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    """Resize logits bilinearly to ``size`` (height, width)."""
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False)
