"""IRNet: class boundaries read off the stages of a frozen backbone.

Ahn, Cho and Kwak, CVPR 2019, section 4.1, on any timm backbone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tag2mask.errors import ModelError
from tag2mask.models.backbones import Backbone

STRIDE = 4
"""Pixels of the image per pixel of the boundaries."""
_NUM_BRANCHES = 5
_EDGE_CHANNELS, _EDGE_GROUPS = 32, 4
_DISPLACEMENT_CHANNELS, _DISPLACEMENT_GROUPS = 64, 8
_JOINED_CHANNELS, _JOINED_GROUPS = 256, 16


class Boundaries(NamedTuple):
    """What IRNet says of images, at a quarter of their size, rounded up.

    Attributes:
        logits: Of a class boundary at each pixel.
        displacement: Rows and columns to the centre of each pixel's object; None where
            nothing learns it.
    """

    logits: Float[Tensor, "b h w"]
    displacement: Float[Tensor, "b 2 h w"] | None


class IrNet(nn.Module):
    """A frozen backbone, an edge head and, if asked for, a displacement head.

    Args:
        backbone: Is frozen, its batch norms and dropout too. It may be any that gives
            the maps of its stages: up to five are used, the last among them.
        displacement: Have a displacement head. It has no influence on the edges.

    Raises:
        ModelError: If the backbone does not give the maps of its stages.
    """

    def __init__(self, backbone: Backbone, *, displacement: bool) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        side = 4 * backbone.output_stride
        levels = self._levels(torch.zeros(1, 3, side, side))
        channels = [level.shape[1] for level in levels]
        self.edge = _EdgeHead(channels)
        # optimisers give a part of this name a learning rate of its own
        self.head = _DisplacementHead(channels) if displacement else None

    def train(self, mode: bool = True) -> "IrNet":
        """Set the mode; the backbone stays in evaluation."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Boundaries:
        """Return boundaries of RGB images in [0, 1], of any size."""
        padded = self._pad(images)
        levels = self._levels(padded)
        grid = padded.shape[-2] // STRIDE, padded.shape[-1] // STRIDE
        height, width = (-(-side // STRIDE) for side in images.shape[-2:])
        logits = self.edge(levels, grid)[..., :height, :width]
        if self.head is None:
            return Boundaries(logits, None)
        return Boundaries(logits, self.head(levels, grid)[..., :height, :width])

    @torch.inference_mode()
    def edges(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw"]:
        """Return the probability of a boundary: logits of both mirror images averaged.

        The images are padded before they are mirrored, so that both grids agree.
        """
        padded = self._pad(images)
        upright, mirrored = self(padded).logits, self(padded.flip(-1)).logits
        edges = ((upright + mirrored.flip(-1)).float() / 2).sigmoid()
        height, width = (-(-side // STRIDE) for side in images.shape[-2:])
        inside: Tensor = edges[:, :height, :width]
        return inside

    def _pad(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 ph pw"]:
        """Repeat the last row and column, which makes no edge, to whole strides."""
        height, width = images.shape[-2:]
        stride = self.backbone.output_stride
        below, right = -height % stride, -width % stride
        return functional.pad(images, (0, right, 0, below), mode="replicate")

    @torch.no_grad()
    def _levels(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Return maps of up to five stages, evenly spread, the last among them."""
        backbone = self.backbone
        if not hasattr(backbone.net, "forward_intermediates"):
            raise ModelError(
                f"{type(backbone.net).__name__} does not give the maps of its stages, "
                f"which IRNet needs; give it a backbone of its own, as refine.network "
                f"= {{ backbone = 'resnet50' }}"
            )
        maps: list[Tensor] = backbone.net.forward_intermediates(
            (images - backbone.mean) / backbone.std,
            intermediates_only=True,
            output_fmt="NCHW",
        )
        num_branches = min(_NUM_BRANCHES, len(maps))
        ends = [(n + 1) * len(maps) // num_branches for n in range(num_branches)]
        return [maps[end - 1] for end in ends]


class _Branch(nn.Module):
    """A 1x1 convolution of one stage, resized to a grid."""

    def __init__(self, num_inputs: int, num_outputs: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_inputs, num_outputs, 1, bias=False)
        self.norm = nn.GroupNorm(groups, num_outputs)

    def forward(
        self, level: Float[Tensor, "b c lh lw"], grid: tuple[int, int]
    ) -> Float[Tensor, "b k h w"]:
        maps: Tensor = self.norm(self.conv(level))
        resized = functional.interpolate(
            maps, grid, mode="bilinear", align_corners=False
        )
        return resized.relu()


class _EdgeHead(nn.Module):
    """Branches of 32 channels, joined to one logit."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _Branch(each, _EDGE_CHANNELS, _EDGE_GROUPS) for each in channels
        )
        self.last = nn.Conv2d(_EDGE_CHANNELS * len(channels), 1, 1)

    def forward(
        self, levels: Sequence[Tensor], grid: tuple[int, int]
    ) -> Float[Tensor, "b h w"]:
        maps = [
            branch(level, grid)
            for branch, level in zip(self.branches, levels, strict=True)
        ]
        logits: Tensor = self.last(torch.cat(maps, dim=1))
        return logits[:, 0]


class _DisplacementHead(nn.Module):
    """Branches of 64 channels, joined to two coordinates."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _Branch(each, _DISPLACEMENT_CHANNELS, _DISPLACEMENT_GROUPS)
            for each in channels
        )
        self.join = _Branch(
            _DISPLACEMENT_CHANNELS * len(channels), _JOINED_CHANNELS, _JOINED_GROUPS
        )
        self.last = nn.Conv2d(_JOINED_CHANNELS, 2, 1, bias=False)

    def forward(
        self, levels: Sequence[Tensor], grid: tuple[int, int]
    ) -> Float[Tensor, "b 2 h w"]:
        maps = [
            branch(level, grid)
            for branch, level in zip(self.branches, levels, strict=True)
        ]
        displacement: Tensor = self.last(self.join(torch.cat(maps, dim=1), grid))
        return displacement
