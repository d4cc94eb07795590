"""Batch norms in evaluation, computed inside the convolutions before them.

There a batch norm is an affine map of each channel, ``y = s x + t``, and
``norm(conv(x, weight))`` is ``conv(x, s weight) + t``. Maps are large and weights
small: this saves a pass over memory forward and another one backward.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tag2mask._torchvision import import_torchvision
from tag2mask.models.dilation import SpaceToBatchConv2d, convolve_interleaved

import_torchvision()
from timm.layers.conv2d_same import Conv2dSame, conv2d_same  # noqa: E402
from timm.layers.norm_act import BatchNormAct2d  # noqa: E402

_Convolve = Callable[[nn.Conv2d, Tensor, Tensor, Tensor | None], Tensor]
_TOLERANCE = 1e-3


def _convolve_same(
    conv: nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    geometry: Any = conv.stride, (0, 0), conv.dilation, conv.groups
    output: Tensor = conv2d_same(input, weight, bias, *geometry)
    return output


_CONVOLVE: Mapping[type[nn.Conv2d], _Convolve] = {
    nn.Conv2d: nn.Conv2d._conv_forward,
    Conv2dSame: _convolve_same,
    SpaceToBatchConv2d: convolve_interleaved,
}
"""By exact type: each is linear in its weight, which other subclasses may not be."""
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)
"""Exact types: what they do behind the affine map are their children, in order."""


class FoldedNorm(nn.BatchNorm2d):
    """A batch norm that leaves its affine map in evaluation to its convolution.

    Has the parameters, buffers and children of the norm that it replaces. In training
    it is that norm.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        for name, tensor in norm.state_dict(keep_vars=True).items():
            if "." not in name:
                setattr(self, name, tensor)
        for name, child in norm.named_children():
            self.add_module(name, child)
        self.train(norm.training)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Do what is left of the norm."""
        if self.training:
            input = super().forward(input)
        for child in self.children():
            input = child(input)
        return input


class FoldedConv2d(nn.Conv2d):
    """A convolution that also does the affine map of the batch norm behind it.

    The map is computed from the norm's tensors at each call, so that they may be
    loaded, moved or trained. While the norm trains, this is the plain convolution.

    Attributes:
        kind: Type of the convolution that it replaces.

    Args:
        conv: Is replaced; its parameters are used.
        norm: Behind it; does not become a part of this module.
    """

    def __init__(self, conv: nn.Conv2d, norm: FoldedNorm) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)
        self._norm = (norm,)
        self.kind = type(conv)
        self._convolve = _CONVOLVE[self.kind]

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k fh fw"]:
        """Convolve with scaled weights."""
        (norm,) = self._norm
        if norm.training:
            return self._convolve(self, input, self.weight, self.bias)
        return self._convolve(self, input, *self.folded())

    def folded(self) -> tuple[Float[Tensor, "k c kh kw"], Float[Tensor, " k"]]:
        """Return the weight and the bias that do the affine map too."""
        (norm,) = self._norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mean = norm.running_mean if self.bias is None else norm.running_mean - self.bias
        shift = norm.bias - mean * scale
        return self.weight * scale.view(-1, 1, 1, 1), shift


@torch.no_grad()
def fold_batch_norms(network: nn.Module, probe: Float[Tensor, "b c h w"]) -> int:
    """Fold the batch norms of a network into the convolutions that feed them.

    The network computes the same, norms that train included, and its state dict keeps
    its keys and values. A pair is a convolution and a batch norm that each run once, of
    which the norm alone reads what the convolution gives.

    Args:
        network: Is changed in place.
        probe: Images on which the pairs are found.

    Returns:
        The number of pairs; 0 if the network would not compute the same.
    """
    mode = network.training
    network.eval()
    new: dict[nn.Module, nn.Module] = {}
    for conv, norm in _find_pairs(network, probe):
        new[norm] = folded = FoldedNorm(norm)
        new[conv] = FoldedConv2d(conv, folded)
    if not new:
        network.train(mode)
        return 0
    state = _uneven_norms(network)
    before = functional_call(network, state, (probe,))
    _replace(network, new)
    after = functional_call(network, state, (probe,))
    if not _are_close(before, after):
        _replace(network, {folded: old for old, folded in new.items()})
        new = {}
    network.train(mode)
    return len(new) // 2


def _are_close(before: Tensor, after: Tensor) -> bool:
    """Compare features; those of strange weights may overflow and tell nothing."""
    scale = float(before.abs().max())
    if not math.isfinite(scale):
        return False
    return torch.allclose(before, after, rtol=_TOLERANCE, atol=_TOLERANCE * scale)


class _Watch(TorchDispatchMode):
    """Counts the operations that read what convolutions give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
        self.reads: dict[int, int] = {}
        self.runs: dict[nn.Module, int] = {}
        self.pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d, int]] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        del types
        for each in tree_leaves((args, kwargs)):
            if id(each) in self.reads:
                self.reads[id(each)] += 1
        return func(*args, **(kwargs or {}))

    def after_conv(self, conv: nn.Conv2d, _: object, output: Tensor) -> None:
        self.runs[conv] = self.runs.get(conv, 0) + 1
        self.outputs[id(output)] = conv, output  # kept, so that no other gets its id
        self.reads[id(output)] = 0

    def before_norm(self, norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        self.runs[norm] = self.runs.get(norm, 0) + 1
        if id(inputs[0]) in self.outputs:
            self.pairs.append((self.outputs[id(inputs[0])][0], norm, id(inputs[0])))


def _find_pairs(
    network: nn.Module, probe: Tensor
) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    watch = _Watch()
    handles = []
    for module in network.modules():
        if type(module) in _CONVOLVE:
            handles.append(module.register_forward_hook(watch.after_conv))
        elif (
            type(module) in _NORMS and module.running_var is not None and module.affine
        ):
            handles.append(module.register_forward_pre_hook(watch.before_norm))
    with watch:
        network(probe)
    for handle in handles:
        handle.remove()
    return [
        (conv, norm)
        for conv, norm, output in watch.pairs
        if watch.runs[conv] == watch.runs[norm] == watch.reads[output] == 1
    ]


def _uneven_norms(network: nn.Module) -> dict[str, Tensor]:
    """Return tensors for the batch norms that show whether one is left out."""
    return {
        f"{prefix}.{name}".lstrip("."): torch.linspace(0.5, 1.5, len(tensor))
        for prefix, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for name, tensor in module.state_dict().items()
        if name in ("weight", "bias", "running_mean", "running_var")
    }


def _replace(network: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in new:
                setattr(parent, name, new[child])
