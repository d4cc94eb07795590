"""Texts are encoded once: their vectors stay on disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tag2mask.artifacts.files import whole_file
from tag2mask.models.image_text.protocol import TextEncoder

_TOLERANCE = 1e-3


class TextCache:
    """A text encoder that asks another one only for texts that it has not seen.

    One file for each identity; a vector's key is the SHA-256 of identity and text, so
    that nothing depends on the order of texts or on who asked. A file that is damaged
    counts as absent. Of two writers at once the later one wins, and what the other
    one wrote is encoded again when it is next asked for.

    Args:
        encoder: Asked for the texts that are not on disk.
        folder: For the files; made when the first one is written.
    """

    def __init__(self, encoder: TextEncoder, folder: Path) -> None:
        self.identity = encoder.identity
        self._encoder = encoder
        self.path = folder / f"texts-{_digest(encoder.identity)[:12]}.safetensors"

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return a unit vector for each text, on the CPU.

        Raises:
            ValueError: If there is no text.
            ArtifactError: If the file cannot be written.
        """
        if not texts:
            raise ValueError("expected at least one text to encode, got none")
        keys = [_digest(f"{self.identity}\0{text}") for text in texts]
        known = _read(self.path)
        missing = {
            key: text for key, text in zip(keys, texts, strict=True) if key not in known
        }
        if missing:
            vectors = self._encoder.encode_texts(list(missing.values())).cpu()
            # a copy each, since safetensors refuses tensors that share memory
            copies = [vector.clone() for vector in vectors]
            known |= dict(zip(missing, copies, strict=True))
            with whole_file(self.path) as scratch:
                scratch.write_bytes(save(known))
        return torch.stack([known[key] for key in keys])


def _read(path: Path) -> dict[str, Tensor]:
    """Return the vectors that are whole."""
    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError):
        return {}
    return {key: vector for key, vector in found.items() if _is_whole(vector)}


def _is_whole(vector: Tensor) -> bool:
    return (
        vector.dtype == torch.float32
        and vector.ndim == 1
        and abs(vector.norm().item() - 1) < _TOLERANCE
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
