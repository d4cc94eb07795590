"""Dilated convolutions of a network: made fast, or without their dilation."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class SpaceToBatchConv2d(nn.Conv2d):
    """A dilated convolution computed as an undilated one on interleaved pixels.

    Exactly a dilated convolution with zero padding ``dilation * (kernel - 1) / 2``.
    oneDNN's backward pass of a dilated depthwise convolution is some 20 times slower.
    """

    def _conv_forward(
        self, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        return convolve_interleaved(self, input, weight, bias)


def convolve_interleaved(
    conv: nn.Conv2d,
    input: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "k _ _ _"],
    bias: Float[Tensor, " k"] | None,
) -> Float[Tensor, "b k h w"]:
    """Convolve as ``conv`` would; ``h`` and ``w`` need not divide by the dilation."""
    d = conv.dilation[0]
    b, c, h, w = input.shape
    rows, columns = -(-h // d), -(-w // d)
    # channels last all the way, so that every copy moves whole rows of channels
    x = functional.pad(input, (0, columns * d - w, 0, rows * d - h))
    x = x.permute(0, 2, 3, 1).reshape(b, rows, d, columns, d, c)
    x = x.permute(0, 2, 4, 1, 3, 5).reshape(b * d * d, rows, columns, c)
    pad = (conv.kernel_size[0] - 1) // 2, (conv.kernel_size[1] - 1) // 2
    x = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, 1, pad, 1, conv.groups)
    x = x.permute(0, 2, 3, 1).reshape(b, d, d, rows, columns, -1)
    x = x.permute(0, 3, 1, 4, 2, 5).reshape(b, rows * d, columns * d, -1)
    return x.permute(0, 3, 1, 2)[:, :, :h, :w]


def speed_up_dilation(net: nn.Module) -> None:
    """Replace dilated depthwise convolutions by equal but faster ones."""
    for parent in list(net.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and max(conv.dilation) > 1:
                setattr(parent, name, _without_slow_dilation(conv))


def remove_dilation(net: nn.Module) -> None:
    """Take the dilation out in place, which keeps what a subclass adds."""
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d) and max(conv.dilation) > 1:
            if not isinstance(conv.padding, str):
                conv.padding = tuple(
                    p // d for p, d in zip(conv.padding, conv.dilation, strict=True)
                )
            conv.dilation = (1, 1)


def _without_slow_dilation(conv: nn.Conv2d) -> nn.Conv2d:
    """Replace a dilated depthwise convolution by an equal but faster one."""
    padding = tuple(
        d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)
    )
    is_plain = (
        type(conv) is nn.Conv2d
        and conv.groups == conv.in_channels
        and conv.stride == (1, 1)
        and conv.padding == padding
        and conv.dilation[0] == conv.dilation[1]
        and all(side % 2 for side in conv.kernel_size)
    )
    if not is_plain:
        return conv
    new = SpaceToBatchConv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        padding=(padding[0], padding[1]),
        dilation=(conv.dilation[0], conv.dilation[1]),
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    new.load_state_dict(conv.state_dict())
    return new
