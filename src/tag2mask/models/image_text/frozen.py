"""What the adapters share: no training, reduced precision on request, an identity."""

import hashlib
import json
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.models.image_text.protocol import Precision

_TEXTS_AT_ONCE = 128


class FrozenModule(nn.Module):
    """A module that stays as it was loaded."""

    def freeze(self) -> None:
        """Take every weight out of training and enter evaluation for good."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenModule":  # noqa: ARG002
        """Stay in evaluation: dropout or batch statistics would move the vectors."""
        super().train(False)
        return self


def unit(vectors: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Return float32 vectors of length 1; a vector of zeros stays one."""
    return nnf.normalize(vectors.float(), dim=-1)


def computing(precision: Precision, device: torch.device) -> torch.autocast:
    """Set the precision of what is computed inside, whatever is set outside."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def encode_in_batches(
    texts: Sequence[str],
    encode: Callable[[list[str]], Float[Tensor, "n d"]],
    device: torch.device,
) -> Float[Tensor, "n d"]:
    """Return unit vectors of texts, encoded so many at a time that memory holds them.

    Always in float32: texts are few and encoded once.

    Raises:
        ValueError: If there is no text.
    """
    if not texts:
        raise ValueError("expected at least one text to encode, got none")
    parts = (
        list(texts[start : start + _TEXTS_AT_ONCE])
        for start in range(0, len(texts), _TEXTS_AT_ONCE)
    )
    with computing("32", device):
        return unit(torch.cat([encode(part) for part in parts]))


def fingerprint(module: nn.Module, *facts: object) -> str:
    """Return 12 hexadecimal digits that change with any weight and any fact.

    Args:
        module: Its parameters and saved buffers count, by name.
        facts: What else changes the vectors, as JSON values.
    """
    seen = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        seen.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        seen.update(memoryview(raw.numpy()))
    return seen.hexdigest()[:12]


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's weights."""
    return next(module.parameters()).device
