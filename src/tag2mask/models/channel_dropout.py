"""Dropout of whole channels: at random while training, chosen ones when reading."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn


class ChannelDropout(nn.Dropout2d):
    """Dropout of whole channels of a map, whose choice can be held.

    Elementwise dropout would average out where maps are pooled.

    Args:
        dropout: Probability of dropping a channel while training.
        num_channels: Of the maps.
    """

    def __init__(self, dropout: float, num_channels: int) -> None:
        super().__init__(dropout)
        self.num_channels = num_channels
        self._held: Tensor | None = None

    def hold(self, factors: Float[Tensor, "b c"] | None) -> None:
        """Multiply the channels of each image of a batch from now on.

        Args:
            factors: As ``draw_factors`` gives; None is a plain dropout again.
        """
        self._held = factors

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Drop channels."""
        if self._held is None:
            return super().forward(input)
        return input * self._held.to(input)[:, :, None, None]


def draw_factors(
    num_channels: int, *, dropout: float, generator: Generator
) -> Float[Tensor, "c"]:
    """Draw what channel dropout multiplies the channels of one image by.

    0 with probability ``dropout``, else ``1 / (1 - dropout)``, so that the mean is 1.

    Args:
        num_channels: How many to draw.
        dropout: In [0, 1).
        generator: The only source of chance.
    """
    kept = torch.rand(num_channels, generator=generator) >= dropout
    return kept.float() / (1 - dropout)


def channel_dropouts(module: nn.Module) -> Iterator[ChannelDropout]:
    """Yield every channel dropout of a module, in its order."""
    for each in module.modules():
        if isinstance(each, ChannelDropout):
            yield each
