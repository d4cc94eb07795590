"""Any timm backbone as a module from images to one feature map."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tag2mask._torchvision import import_torchvision
from tag2mask.errors import ModelError
from tag2mask.models.weights import load_backbone_weights

import_torchvision()
import timm  # noqa: E402  (needs the guard)


class Backbone(nn.Module):
    """The last feature map of a timm model.

    Attributes:
        num_channels: Channels of the feature map.
        output_stride: Pixels of the image per pixel of the feature map.
        mean: Of the inputs that the weights expect, RGB in [0, 1].
        std: Likewise.
    """

    net: Any  # timm models share methods that no type declares
    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, *, output_stride: int) -> None:
        super().__init__()
        self.net = net
        settings = self.net.pretrained_cfg
        self.register_buffer("mean", _channels(settings["mean"]), persistent=False)
        self.register_buffer("std", _channels(settings["std"]), persistent=False)
        self.output_stride = output_stride
        self._is_map = True
        self._frozen_batch_norm = False
        probe = torch.zeros(1, 3, 4 * output_stride, 4 * output_stride)
        training = net.training
        net.eval()
        with torch.no_grad():
            self._is_map = _is_map(self.net.forward_features(probe), net)
            features = self._features(probe)
        net.train(training)
        self.num_channels = features.shape[1]
        if features.shape[-1] != 4:
            stride = probe.shape[-1] // features.shape[-1]
            raise ModelError(
                f"backbone {settings.get('architecture', type(net).__name__)} has "
                f"output stride {stride}, not {output_stride}; set output_stride="
                f"{stride}"
            )

    def freeze(self, *, batch_norm: bool, parts: Sequence[str]) -> None:
        """Take parameters out of training.

        Args:
            batch_norm: Keep every batch norm's statistics and affine parameters.
            parts: Name prefixes of parameters, as ``blocks.0``.

        Raises:
            ModelError: If a prefix names no parameter.
        """
        self._frozen_batch_norm = batch_norm
        for part in parts:
            named = [
                each
                for name, each in self.net.named_parameters()
                if f"{name}.".startswith(f"{part}.")
            ]
            if not named:
                top = ", ".join(name for name, _ in self.net.named_children())
                raise ModelError(f"freeze: no part {part!r}; top-level parts: {top}")
            for parameter in named:
                parameter.requires_grad_(False)
        if batch_norm:
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen batch norms stay in evaluation."""
        super().train(mode)
        if self._frozen_batch_norm:
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c fh fw"]:
        """Return features of RGB images in [0, 1], normalised here."""
        return self._features((images - self.mean) / self.std)

    def _features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c fh fw"]:
        if self._is_map:
            features: Tensor = self.net.forward_features(images)
            return features
        maps: list[Tensor] = self.net.forward_intermediates(
            images, indices=1, norm=True, intermediates_only=True, output_fmt="NCHW"
        )
        return maps[-1]


class SpaceToBatchConv2d(nn.Conv2d):
    """A dilated convolution computed as an undilated one on interleaved pixels.

    Exactly a dilated convolution with zero padding ``dilation * (kernel - 1) / 2``.
    oneDNN's backward pass of a dilated depthwise convolution is some 20 times slower.
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Convolve; ``h`` and ``w`` need not divide by the dilation."""
        d = self.dilation[0]
        b, c, h, w = input.shape
        rows, columns = -(-h // d), -(-w // d)
        x = functional.pad(input, (0, columns * d - w, 0, rows * d - h))
        x = x.view(b, c, rows, d, columns, d).permute(0, 3, 5, 1, 2, 4)
        x = x.reshape(b * d * d, c, rows, columns)
        pad = (self.kernel_size[0] - 1) // 2, (self.kernel_size[1] - 1) // 2
        x = functional.conv2d(x, self.weight, self.bias, 1, pad, 1, self.groups)
        x = x.view(b, d, d, -1, rows, columns).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(b, -1, rows * d, columns * d)[:, :, :h, :w]


def make_backbone(
    name: str,
    *,
    weights: str,
    output_stride: int,
    dilate: bool = True,
    options: Mapping[str, str | int | float | bool] | None = None,
) -> Backbone:
    """Build a timm backbone and load its weights.

    Args:
        name: As ``timm.list_models()`` spells it.
        weights: ``hub`` (timm's pretrained weights), ``none``, or a file.
        output_stride: 8, 16 or 32; strides beyond it are taken out.
        dilate: Dilate the convolutions behind a stride that was taken out. Without
            it the receptive field shrinks and the pretrained features change.
        options: Further arguments of ``timm.create_model``.

    Raises:
        ModelError: If timm has no such model, if the stride cannot be had, or if the
            weights are of another network.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise ModelError(f"timm has no backbone {name!r}{hint}")
    given = dict(options or {})
    net: Any = _create(name, output_stride, pretrained=weights == "hub", options=given)
    load_backbone_weights(net, weights, name=name)
    net.reset_classifier(0)
    for parent in list(net.modules()):
        for attribute, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and max(child.dilation) > 1:
                setattr(parent, attribute, _without_slow_dilation(child, dilate))
    return Backbone(net, output_stride=output_stride)


def _create(
    name: str, output_stride: int, *, pretrained: bool, options: dict[str, Any]
) -> nn.Module:
    """Create a model with the stride; those without strides take images of any size."""
    extras: tuple[dict[str, Any], ...] = (
        {"output_stride": output_stride} if output_stride != 32 else {},
        {"dynamic_img_size": True},
        {},
    )
    refusal = ""
    for extra in extras:
        try:
            net: nn.Module = timm.create_model(name, pretrained, **extra, **options)
        except (TypeError, NotImplementedError, AssertionError) as error:
            refusal = str(error)
            continue
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"the pretrained weights of {name} cannot be had from the hub "
                f"({type(error).__name__}); name a local file in `weights`, or "
                f"weights = 'none'"
            ) from None
        return net
    raise ModelError(f"backbone {name} cannot be built so: {refusal}")


def _is_map(features: Tensor, net: nn.Module) -> bool:
    return features.ndim == 4 and features.shape[1] == getattr(net, "num_features", -1)


def _without_slow_dilation(conv: nn.Conv2d, dilate: bool) -> nn.Conv2d:
    """Replace a dilated convolution by an undilated or an equal but faster one."""
    padding = tuple(
        d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)
    )
    depthwise = conv.groups == conv.in_channels
    if dilate and not (depthwise and max(conv.stride) == 1):
        return conv
    kind = SpaceToBatchConv2d if dilate else nn.Conv2d
    size = (conv.kernel_size[0], conv.kernel_size[1])
    new = kind(
        conv.in_channels,
        conv.out_channels,
        size,
        stride=(conv.stride[0], conv.stride[1]),
        padding=(padding[0], padding[1]) if dilate else (size[0] // 2, size[1] // 2),
        dilation=(conv.dilation[0], conv.dilation[1]) if dilate else 1,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    new.load_state_dict(conv.state_dict())
    return new


def _channels(values: tuple[float, float, float]) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values).view(3, 1, 1)
