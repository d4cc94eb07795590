"""Networks in standard operators alone, as exporters and other runtimes know them."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tag2mask._torchvision import import_torchvision
from tag2mask.models.deeplab import DeepLab
from tag2mask.models.dilation import SpaceToBatchConv2d
from tag2mask.models.folding import FoldedConv2d, FoldedNorm

import_torchvision()
from timm.layers.conv2d_same import Conv2dSame  # noqa: E402


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's ``same``, in terms that hold at any size."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k fh fw"]:
        """Pad as the size needs, more behind than before, and convolve."""
        pads: list[int] = []
        for axis in (1, 0):
            stride = self.stride[axis]
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            total = reach - stride + (-input.shape[2 + axis]) % stride
            if reach < stride:
                total = torch.sym_max(total, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(input, pads))


@torch.no_grad()
def in_standard_operators(network: nn.Module) -> nn.Module:
    """Return a copy that computes the same, in evaluation, at any image size.

    Batch norms that were folded are written into weights; dilated convolutions that
    are computed on interleaved pixels, and DeepLab's heads that are one matrix
    product, become plain dilated convolutions. What is unknown stays as it is.
    """
    standard = copy.deepcopy(network).eval()
    for module in list(standard.modules()):
        if isinstance(module, DeepLab):
            module.folds_taps = False
        for name, child in list(module.named_children()):
            setattr(module, name, _standard(child))
    return standard


def _standard(module: nn.Module) -> nn.Module:
    match module:
        case FoldedNorm():
            return nn.Sequential(*(_standard(each) for each in module.children()))
        case FoldedConv2d():
            weight, bias = module.folded()
            return _convolution(module, module.kind, weight, bias)
        case Conv2dSame() | SpaceToBatchConv2d():
            return _convolution(module, type(module), module.weight, module.bias)
        case _:
            return module


def _convolution(
    like: nn.Conv2d, kind: type[nn.Conv2d], weight: Tensor, bias: Tensor | None
) -> nn.Conv2d:
    """Return a convolution of the geometry of ``like``, padded as its kind is."""
    reach = [(k - 1) * d for k, d in zip(like.kernel_size, like.dilation, strict=True)]
    is_even = all(each % 2 == 0 for each in reach) and like.stride == (1, 1)
    padding = like.padding
    if issubclass(kind, Conv2dSame):
        padding = (reach[0] // 2, reach[1] // 2) if is_even else (0, 0)
        kind = nn.Conv2d if is_even else SameConv2d
    else:
        kind = nn.Conv2d
    new = kind(
        like.in_channels,
        like.out_channels,
        like.kernel_size,  # type: ignore[arg-type]
        like.stride,  # type: ignore[arg-type]
        padding,  # type: ignore[arg-type]
        like.dilation,  # type: ignore[arg-type]
        like.groups,
        bias=bias is not None,
        padding_mode=like.padding_mode,
    )
    new.weight.copy_(weight)
    if bias is not None and new.bias is not None:
        new.bias.copy_(bias)
    return new.eval().requires_grad_(False)
