"""An encoder of transformers as a module from images to feature maps."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.errors import ModelError
from tag2mask.models.backbones import freeze_parts
from tag2mask.models.image_text.hub import import_transformers

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, which all weights of MiT and Swin expect; RGB in [0, 1]."""

_REFUSALS = (TypeError, ValueError, LookupError, RuntimeError, AttributeError)
"""What networks raise where sizes do not fit each other."""

_PROBE = 64
"""Side of the image that shows whether a network runs, pixels."""
Network = TypeVar("Network", bound=nn.Module)


class Encoder(nn.Module):
    """Feature maps of RGB images in [0, 1], normalised here.

    Args:
        net: Of transformers.
        read: From ``net`` and normalised images to the maps, the finest first.

    Attributes:
        mean: Of the inputs that the weights expect, RGB in [0, 1].
        std: Likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        read: Callable[[Any, Tensor], tuple[Tensor, ...]],
    ) -> None:
        super().__init__()
        self.net = net
        self._read = read
        for name, values in (("mean", MEAN), ("std", STD)):
            channels = torch.tensor(values).view(3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def freeze(self, parts: Sequence[str]) -> None:
        """Take parameters out of training, by prefixes of their names.

        Raises:
            ModelError: If a prefix names no parameter.
        """
        freeze_parts(self.net, parts)

    def forward(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Return the maps, the finest first."""
        return self._read(self.net, (images - self.mean) / self.std)


def segmenter_library() -> Any:  # noqa: ANN401
    """Return transformers.

    Raises:
        ModelError: If it is not installed.
    """
    return import_transformers(
        needed_by="the segmenters segformer and mask2former", extra="transformers"
    )


def build(make: Callable[[], Network], *, name: str, key: str) -> Network:
    """Build a network whose options may not fit each other, and see that it runs.

    Raises:
        ModelError: Naming the key of the options.
    """
    try:
        network = make()
        network.eval()
        with torch.no_grad():
            network(torch.zeros(1, 3, _PROBE, _PROBE))
    except _REFUSALS as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{name} cannot be built with this {key} ({reason})") from None
    network.train()
    return network
