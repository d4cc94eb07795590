"""Any timm backbone, or ResNet38d, as a module from images to one feature map."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask._torchvision import import_torchvision
from tag2mask.errors import ModelError
from tag2mask.models.dilation import remove_dilation, speed_up_dilation
from tag2mask.models.folding import fold_batch_norms
from tag2mask.models.resnet38d import RESNET38D, make_resnet38d
from tag2mask.models.weights import load_backbone_weights

import_torchvision()
import timm  # noqa: E402  (needs the guard)

_Named = TypeVar("_Named")
_STRIDES = (8, 16, 32)
_REFUSALS = (TypeError, ValueError, LookupError, AttributeError, AssertionError)
"""What timm raises where it does not take an argument or its value."""


class Backbone(nn.Module):
    """The last feature map of a timm model, or of one in its shape.

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
        self._frozen_norms: list[nn.Module] = []
        name = settings.get("architecture", type(net).__name__)
        side = 4 * output_stride
        try:
            features = self._probe(side)
        except (*_REFUSALS, RuntimeError) as error:
            raise ModelError(
                f"backbone {name} gives no feature map of an RGB image of {side} px "
                f"({error}); choose a backbone that takes images of any size"
            ) from None
        self.num_channels = features.shape[1]
        if features.shape[-1] != 4:
            stride = round(side / features.shape[-1])
            cure = (
                f"set output_stride={stride}"
                if stride in _STRIDES
                else "choose another backbone"
            )
            raise ModelError(
                f"backbone {name} has output stride {stride}, not {output_stride}; "
                f"{cure}"
            )

    @torch.no_grad()
    def _probe(self, side: int) -> Float[Tensor, "1 c fh fw"]:
        """Return the features of a black image, and see in what form they come."""
        probe = torch.zeros(1, 3, side, side)
        training = self.net.training
        self.net.eval()
        self._is_map = _is_map(self.net.forward_features(probe), self.net)
        features = self._features(probe)
        self.net.train(training)
        return features

    def freeze(self, *, batch_norm: bool, parts: Sequence[str]) -> None:
        """Take parameters out of training.

        Args:
            batch_norm: Keep every batch norm's statistics and affine parameters.
            parts: Name prefixes of parameters, as ``blocks.0``; the batch norms in
                them keep their statistics too.

        Raises:
            ModelError: If a prefix names no parameter.
        """
        freeze_parts(self.net, parts)
        modules = list(self.net.named_modules())
        frozen = [m for part in parts for m in _below(part, modules)]
        for module in [each for _, each in modules] if batch_norm else frozen:
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.requires_grad_(False)
                self._frozen_norms.append(module.eval())

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; frozen batch norms stay in evaluation."""
        super().train(mode)
        for module in self._frozen_norms:
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


def make_backbone(
    name: str,
    *,
    weights: str,
    output_stride: int,
    dilate: bool = True,
    options: Mapping[str, str | int | float | bool] | None = None,
) -> Backbone:
    """Build a backbone and load its weights.

    Args:
        name: As ``timm.list_models()`` spells it, or ``resnet38d``.
        weights: ``hub`` (timm's pretrained weights), ``none``, or a file.
        output_stride: 8, 16 or 32; strides beyond it are taken out.
        dilate: Dilate the convolutions behind a stride that was taken out. Without
            it the receptive field shrinks and the pretrained features change.
        options: Further arguments of ``timm.create_model``, or ``width`` of
            ``resnet38d``; ``mean`` and ``std`` are of the inputs that the weights
            expect, one number for all channels.

    Raises:
        ModelError: If timm has no such model or it refuses an option, if the stride
            cannot be had, or if the weights are of another network.
    """
    given = with_normalisation(refuse_loading(dict(options or {})))
    net: Any
    if name == RESNET38D:
        net = _make_resnet38d(weights, output_stride, given)
    else:
        net = _make_timm(name, weights, output_stride, given)
    (speed_up_dilation if dilate else remove_dilation)(net)
    backbone = Backbone(net, output_stride=output_stride)
    side = 4 * output_stride
    fold_batch_norms(backbone, torch.linspace(0, 1, 3 * side**2).view(1, 3, side, side))
    return backbone


def _make_resnet38d(
    weights: str, output_stride: int, options: dict[str, Any]
) -> nn.Module:
    if weights == "hub":
        raise ModelError(
            f"{RESNET38D} is not in the timm hub: name in `weights` a file of its "
            f"ImageNet parameters as AffinityNet and SEAM convert them, or weights = "
            f"'none'"
        )
    net = make_resnet38d(output_stride, options)
    load_backbone_weights(net, weights, name=RESNET38D)
    return net


def _make_timm(
    name: str, weights: str, output_stride: int, options: dict[str, Any]
) -> nn.Module:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, [*timm.list_models(), RESNET38D], n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise ModelError(f"timm has no backbone {name!r}{hint}")
    net: Any = create_net(
        name, output_stride, pretrained=weights == "hub", options=options
    )
    load_backbone_weights(net, weights, name=name)
    if not hasattr(net, "reset_classifier"):
        raise ModelError(f"backbone {name} cannot be used with options {options}")
    net.reset_classifier(0)
    return net  # type: ignore[no-any-return]


def refuse_loading(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as they are, none of which may load or fetch a file.

    They can come with a model's card, from anyone, and timm would run what a file of
    its ``checkpoint_path`` holds.

    Raises:
        ModelError: Naming the option.
    """
    for key in options:
        if key.startswith("pretrained") or key in ("checkpoint_path", "cache_dir"):
            raise ModelError(
                f"backbone_options.{key} is not taken: name files in `weights`, and "
                f"mean and std by their names"
            )
    return options


def with_normalisation(options: dict[str, Any]) -> dict[str, Any]:
    """Put mean and std where timm keeps them."""
    overlay = {}
    for key in ("mean", "std"):
        if key in options:
            value = options.pop(key)
            if isinstance(value, str | bool) or not 0 <= value <= 1:
                raise ModelError(
                    f"backbone_options.{key}: expected 0..1, got {value!r}"
                )
            overlay[key] = (float(value),) * 3
    return options | ({"pretrained_cfg_overlay": overlay} if overlay else {})


def create_net(
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
        except (*_REFUSALS, NotImplementedError) as error:
            refusal = f"{type(error).__name__}: {error}"
            continue
        except (OSError, RuntimeError) as error:
            if not pretrained:
                refusal = f"{type(error).__name__}: {error}"
                continue
            raise ModelError(
                f"the pretrained weights of {name} cannot be had from the hub "
                f"({type(error).__name__}); name a local file in `weights`, or set "
                f"weights = 'none' and freeze_batch_norm = false"
            ) from None
        return net
    given = ", ".join(f"{key} = {value!r}" for key, value in options.items()) or "none"
    raise ModelError(
        f"backbone {name} cannot be built with the options {given} ({refusal}); "
        f"backbone_options takes arguments of timm.create_model"
    )


def freeze_parts(net: nn.Module, parts: Sequence[str]) -> None:
    """Take parameters out of training, by prefixes of their names.

    Raises:
        ModelError: If a prefix names no parameter.
    """
    for part in parts:
        named = _below(part, net.named_parameters())
        if not named:
            top = ", ".join(name for name, _ in net.named_children())
            raise ModelError(f"freeze: no part {part!r}; top-level parts: {top}")
        for parameter in named:
            parameter.requires_grad_(False)


def _below(part: str, named: Iterable[tuple[str, _Named]]) -> list[_Named]:
    """Return what is named ``part`` or lies below it."""
    return [each for name, each in named if f"{name}.".startswith(f"{part}.")]


def _is_map(features: Tensor, net: nn.Module) -> bool:
    return features.ndim == 4 and features.shape[1] == getattr(net, "num_features", -1)


def _channels(values: tuple[float, float, float]) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values).view(3, 1, 1)
