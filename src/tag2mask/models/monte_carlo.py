"""One trained network read as many: channels are dropped at inference."""

import hashlib
import json
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.channel_dropout import draw_factors


class MonteCarloCam(nn.Module):
    """The logit maps of a CAM network some of whose channels are dropped [ours].

    Which ones depends on voter, image and random seed alone: every scale and mirror
    image of an image lacks the same, in any batch.

    Args:
        network: In evaluation mode.
        dropout: Probability of dropping a channel of its last dropout.
        voter: Name of what reads it: each voter drops others.
        random_seed: Of all choices.
    """

    def __init__(
        self, network: CamNetwork, *, dropout: float, voter: str, random_seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self._dropout = dropout
        self._key = (voter, random_seed)

    def look_at(self, names: Sequence[str]) -> None:
        """Choose the channels of the images that come next, one batch of them."""
        generators = [self._generator(name) for name in names]
        for layer in self.network.last_dropouts:
            factors = [
                draw_factors(layer.num_channels, dropout=self._dropout, generator=each)
                for each in generators
            ]
            layer.hold(torch.stack(factors))

    def logit_maps(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b t fh fw"]:
        """Return the maps of the images that ``look_at`` has named, in their order."""
        return self.network.logit_maps(images)

    def _generator(self, name: str) -> torch.Generator:
        digest = hashlib.sha256(json.dumps([*self._key, name]).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
