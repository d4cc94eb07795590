"""ResNet38d, the Wide-ResNet-38 of the field (Wu et al., Pattern Recognition 2019).

Model A1 of "Wider or Deeper", dilated as in the programs of AffinityNet (CVPR 2018) and
SEAM (CVPR 2020), whose names its parameters have: their conversions of the public
ImageNet parameters load as they are. The stem keeps the size, strides of 2 begin b2, b3
and b4, and dilations of 2 and 4 stand for those of b5 and b6.
"""

from collections import OrderedDict
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tag2mask.errors import ModelError
from tag2mask.models.channel_dropout import ChannelDropout, channel_dropouts

RESNET38D = "resnet38d"
FROZEN = ("conv1a", "b2", "b2_1", "b2_2")
"""What does not train in the field's programs."""
_STEPS = ("2a", "2b1", "2b2")
_KERNELS = {2: (3, 3), 3: (1, 3, 1)}
_STEM = 64
_STAGES = ("b2_2", "b3_2", "b4_5", "b5_2", "relu7")
"""The last part of each stage, the whole network's among them."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


class Block(nn.Module):
    """A residual block that activates before it convolves.

    Two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1. Where the shape changes,
    the shortcut is a 1x1 convolution of what the first activation gives.

    Args:
        channels: Before, between and after the convolutions.
        stride: Of the first convolution and the shortcut.
        dilations: Of each convolution.
        dropout: Probability of dropping a channel before any convolution but the first.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        stride: int = 1,
        dilations: tuple[int, ...] = (1, 1),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kernels = _KERNELS[len(dilations)]
        for n, (kernel, dilation) in enumerate(zip(kernels, dilations, strict=True)):
            step = _STEPS[n]
            self.add_module(f"bn_branch{step}", nn.BatchNorm2d(channels[n]))
            if n and dropout:
                self.add_module(f"dropout_{step}", ChannelDropout(dropout, channels[n]))
            self.add_module(
                f"conv_branch{step}",
                nn.Conv2d(
                    channels[n],
                    channels[n + 1],
                    kernel,
                    1 if n else stride,
                    padding=dilation * (kernel // 2),
                    dilation=dilation,
                    bias=False,
                ),
            )
        if stride > 1 or channels[0] != channels[-1]:
            self.conv_branch1 = nn.Conv2d(
                channels[0], channels[-1], 1, stride, bias=False
            )
        self._steps = _STEPS[: len(dilations)]

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k oh ow"]:
        """Add the residual to the shortcut."""
        shortcut = residual = input
        for step in self._steps:
            norm = self.get_submodule(f"bn_branch{step}")
            residual = functional.relu(norm(residual))
            if step == _STEPS[0] and hasattr(self, "conv_branch1"):
                shortcut = self.conv_branch1(residual)
            if hasattr(self, f"dropout_{step}"):
                residual = self.get_submodule(f"dropout_{step}")(residual)
            residual = self.get_submodule(f"conv_branch{step}")(residual)
        return shortcut + residual


class ResNet38d(nn.Sequential):
    """The network up to its last feature map, in the shape of a timm model.

    105,070,912 parameters at width 1; ``tests/models/test_resnet38d.py`` adds them up.

    Args:
        output_stride: 8 as published; at 16 and 32 the strides that were taken out are
            put back, of b5, then of b6, and the dilations behind them are less.
        width: Factor of every number of channels.
        mean: Of the inputs that the weights expect, RGB in [0, 1].
        std: Likewise.

    Attributes:
        num_features: Channels of the feature map, 4,096 at width 1.
    """

    def __init__(
        self,
        *,
        output_stride: int = 8,
        width: float = 1.0,
        mean: tuple[float, float, float] = _MEAN,
        std: tuple[float, float, float] = _STD,
    ) -> None:
        stem = _scaled(_STEM, width)
        children: OrderedDict[str, nn.Module] = OrderedDict()
        children["conv1a"] = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        children |= _blocks(output_stride, width)
        num_features = _scaled(4096, width)
        children["bn7"] = nn.BatchNorm2d(num_features)
        children["relu7"] = nn.ReLU()
        super().__init__(children)
        self.num_features = num_features
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.pretrained_cfg = {
            "architecture": RESNET38D,
            "mean": mean,
            "std": std,
            "classifier": "linear1000",
        }

    def forward_features(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b c fh fw"]:
        """Return the feature map of normalised images."""
        features: Tensor = self(images)
        return features

    def forward_intermediates(
        self,
        images: Float[Tensor, "b 3 h w"],
        *,
        intermediates_only: bool,
        output_fmt: str,
    ) -> list[Tensor]:
        """Return the map of every stage, as timm models do when asked for these alone.

        Args:
            images: Normalised.
            intermediates_only: True.
            output_fmt: ``NCHW``.

        Raises:
            ValueError: If asked for anything else.
        """
        if not intermediates_only or output_fmt != "NCHW":
            raise ValueError("expected intermediates_only=True and output_fmt='NCHW'")
        maps, features = [], images
        for name, part in self.named_children():
            features = part(features)
            if name in _STAGES:
                maps.append(features)
        return maps


def make_resnet38d(output_stride: int, options: Mapping[str, object]) -> ResNet38d:
    """Build the network by the options of a recipe.

    Args:
        output_stride: 8, 16 or 32.
        options: ``width``, and ``pretrained_cfg_overlay`` with mean and std.

    Raises:
        ModelError: If there is no such option, or channels would not be whole numbers.
    """
    known = dict(options)
    overlay = known.pop("pretrained_cfg_overlay", {})
    width = known.pop("width", 1.0)
    if known or not isinstance(overlay, dict):
        raise ModelError(
            f"backbone {RESNET38D} has no option {', '.join(sorted(known))}; "
            f"backbone_options of it are width, mean and std"
        )
    factor = 0.0
    if isinstance(width, int | float) and not isinstance(width, bool):
        factor = float(width)
    if not (0 < factor <= 4 and (_STEM * factor).is_integer()):
        raise ModelError(
            f"backbone_options.width: expected a factor up to 4 of {_STEM} channels "
            f"that gives a whole number, such as 0.25, got {width!r}"
        )
    return ResNet38d(output_stride=output_stride, width=factor, **overlay)


def set_last_dropout(net: nn.Module, dropout: float) -> list[ChannelDropout]:
    """Set the probability of the dropouts of b7, 0.5 as published, and return them.

    Raises:
        ModelError: If the network has no b7.
    """
    if not isinstance(net, ResNet38d):
        raise ModelError(
            f"dropout_layer = 'b7' is for the backbone {RESNET38D}; others have "
            f"'dropout7' only, which is before the head"
        )
    found = list(channel_dropouts(net.get_submodule("b7")))
    for each in found:
        each.p = dropout
    return found


def _scaled(channels: int, width: float) -> int:
    return round(channels * width)


def _blocks(output_stride: int, width: float) -> OrderedDict[str, nn.Module]:
    """Return the blocks b2 to b7 by name, in their order."""
    stride5, stride6 = (2 if output_stride >= least else 1 for least in (16, 32))
    dilation5 = 2 // stride5
    dilation6 = 4 // (stride5 * stride6)
    # channels before, between and after the convolutions; blocks; stride; dilation
    basic = {
        "b2": ((64, 128, 128), 3, 2, 1),
        "b3": ((128, 256, 256), 3, 2, 1),
        "b4": ((256, 512, 512), 6, 2, 1),
        "b5": ((512, 512, 1024), 3, stride5, dilation5),
    }
    found: OrderedDict[str, nn.Module] = OrderedDict()
    for name, (channels, count, stride, dilation) in basic.items():
        before, between, after = (_scaled(each, width) for each in channels)
        # the first convolution behind a stride that was taken out is not dilated yet
        first = Block((before, between, after), stride=stride, dilations=(1, dilation))
        found[name] = first
        for n in range(1, count):
            found[f"{name}_{n}"] = Block(
                (after, between, after), dilations=(dilation, dilation)
            )
    bottlenecks = {
        "b6": ((1024, 512, 1024, 2048), stride6, 0.3),
        "b7": ((2048, 1024, 2048, 4096), 1, 0.5),
    }
    for name, (widths, stride, dropout) in bottlenecks.items():
        found[name] = Block(
            tuple(_scaled(each, width) for each in widths),
            stride=stride,
            dilations=(1, dilation6, 1),
            dropout=dropout,
        )
    return found
