"""Sentence embeddings: texts to vectors, by any model of the transformers library."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tag2mask.errors import ModelError
from tag2mask.models.image_text.frozen import (
    FrozenModule,
    device_of,
    encode_in_batches,
    fingerprint,
)
from tag2mask.models.image_text.hub import (
    import_transformers,
    load_config,
    load_network,
    load_tokenizer,
    read_hub_json,
)

_POOLING = "1_Pooling/config.json"
_MEAN = "pooling_mode_mean_tokens"


class SentenceEncoder(FrozenModule):
    """The mean over a text's tokens of their last hidden states; a ``TextEncoder``.

    Args:
        network: Encoder of transformers.
        tokenizer: Of that network.
        name: For the identity.
    """

    def __init__(self, network: Any, tokenizer: Any, *, name: str) -> None:  # noqa: ANN401
        super().__init__()
        self.network = network
        self._tokenizer = tokenizer
        longest = tokenizer.model_max_length
        positions = getattr(network.config, "max_position_embeddings", longest)
        self._num_tokens = min(longest, positions)
        facts = (network.config.model_type, self._num_tokens, tokenizer.get_vocab())
        self.identity = f"sentences {name} {fingerprint(network, *facts)}"
        self.freeze()

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return unit vectors of texts, cut at the model's length.

        Raises:
            ValueError: If there is no text.
        """
        return encode_in_batches(texts, self._encode, device_of(self))

    def _encode(self, texts: list[str]) -> Float[Tensor, "n d"]:
        tokens = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._num_tokens,
            return_tensors="pt",
        ).to(device_of(self))
        states: Tensor = self.network(**tokens).last_hidden_state
        is_token = tokens.attention_mask.unsqueeze(-1).to(states.dtype)
        means: Tensor = (states * is_token).sum(1) / is_token.sum(1)
        return means


def load_sentence_encoder(
    model: str = "sentence-transformers/all-MiniLM-L6-v2",
) -> SentenceEncoder:
    """Load a model that sentence-transformers or transformers saved.

    Args:
        model: Name on the hub, or a folder. Weights are read from safetensors files
            only.

    Raises:
        ModelError: If transformers is not installed, if the model, its weights or its
            tokenizer cannot be had, or if its sentence vectors are no mean of tokens.
    """
    transformers = import_transformers()
    config = load_config(model)
    pooling = read_hub_json(model, _POOLING)
    modes = {key for key, value in pooling.items() if value is True and "mode" in key}
    if modes - {_MEAN}:
        raise ModelError(
            f"{_POOLING} of {model} asks for {', '.join(sorted(modes))}; expected "
            f"{_MEAN} alone: choose a sentence model that takes the mean of its tokens"
        )
    tokenizer = load_tokenizer(model, num_embeddings=config.vocab_size)
    network = load_network(transformers.AutoModel, model, config, unused=("pooler.",))
    if hasattr(network, "pooler"):
        network.pooler = None  # it has no part in the mean, and may hold no weights
    return SentenceEncoder(
        network,
        tokenizer,
        name=Path(model).name if Path(model).is_dir() else model,
    )
