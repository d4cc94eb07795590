"""A network of activation maps that an image-text model teaches."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.suppression_gate import SuppressionGate


class TextNetwork(nn.Module):
    """Maps of a CAM network as probabilities, and the state that their losses keep.

    Args:
        cam: Gives the maps; its backbone and head are parts of this network.
        gate: Chooses background prompts (CA-CL, eq. 10-11).
        num_contexts: Prompts of each class to choose from.
    """

    chosen: Tensor

    def __init__(
        self, cam: CamNetwork, gate: SuppressionGate, *, num_contexts: int
    ) -> None:
        super().__init__()
        self.backbone = cam.backbone
        self.dropout = cam.dropout
        self.head = cam.head
        self.gate = gate
        counts = torch.zeros(cam.head.out_channels, num_contexts, dtype=torch.int64)
        self.register_buffer("chosen", counts)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t fh fw"]:
        """Return ``sigmoid(w_k . f)`` for every tag k, float32 (CA-CL, eq. 1)."""
        maps: Tensor = self.head(self.dropout(self.backbone(images)))
        return maps.float().sigmoid()

    @torch.no_grad()
    def count_contexts(
        self, classes: Int64[Tensor, "p"], contexts: Int64[Tensor, "p"]
    ) -> None:
        """Remember which context each pair's class took."""
        one = torch.ones_like(contexts)
        self.chosen.index_put_((classes, contexts), one, accumulate=True)
