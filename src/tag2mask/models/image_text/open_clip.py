"""Image-text models of the open_clip library."""

import difflib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tag2mask._torchvision import import_torchvision
from tag2mask.errors import ModelError
from tag2mask.models.image_text.frozen import (
    FrozenModule,
    computing,
    device_of,
    encode_in_batches,
    fingerprint,
    unit,
)
from tag2mask.models.image_text.protocol import Precision
from tag2mask.models.weights import read_weights

Channels = tuple[float, float, float]
_REFUSALS = (OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError)
"""What open_clip raises for a hub out of reach or weights of another network."""


class OpenClip(FrozenModule):
    """A model of open_clip, frozen; see ``ImageTextModel``.

    Args:
        network: As ``open_clip.create_model`` returns it.
        tokenizer: From texts to token ids of the network's length.
        preprocessing: As ``open_clip.get_model_preprocess_cfg`` returns it.
        name: For the identity.
        precision: Of the image encoder; ``bf16`` on hardware that has it.
    """

    def __init__(
        self,
        network: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        *,
        preprocessing: dict[str, Any],
        name: str,
        precision: Precision = "32",
    ) -> None:
        super().__init__()
        self.network = network
        self.precision = precision
        size = preprocessing["size"]
        sides = {size} if isinstance(size, int) else set(size)
        if len(sides) != 1:
            raise ModelError(f"{name} takes images of {size} pixels; expected a square")
        self.image_size: int = sides.pop()
        self.mean: Channels = tuple(preprocessing["mean"])
        self.std: Channels = tuple(preprocessing["std"])
        self._tokenizer = tokenizer
        digest = fingerprint(network, self.image_size, self.mean, self.std)
        self.identity = f"open_clip {name} {digest}"
        self.freeze()

    def encode_images(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return unit vectors of normalised images."""
        with computing(self.precision, images.device):
            vectors: Tensor = self.network.encode_image(images.float())
        return unit(vectors)

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return unit vectors of texts, cut at the model's length.

        Raises:
            ValueError: If there is no text.
        """
        return encode_in_batches(texts, self._encode, device_of(self))

    def _encode(self, texts: list[str]) -> Float[Tensor, "n d"]:
        tokens = self._tokenizer(texts).to(device_of(self))
        vectors: Tensor = self.network.encode_text(tokens)
        return vectors


def load_open_clip(
    model: str = "ViT-B-32",
    weights: str = "laion2b_s34b_b79k",
    *,
    mean: Channels | None = None,
    std: Channels | None = None,
    precision: Precision = "32",
) -> OpenClip:
    """Load a model of open_clip.

    Args:
        model: Architecture, as ``open_clip.list_models()`` spells it. Local weights
            trained with QuickGELU need the architecture of that name.
        weights: Checkpoint that open_clip lists for it, or a file: safetensors, or a
            pth of tensors only.
        mean: Of the images that the weights expect, RGB in [0, 1]; None: what
            open_clip says of these weights, and for a file what it says of the first
            ones it lists for the architecture.
        std: Likewise.
        precision: Of the image encoder.

    Raises:
        ModelError: If open_clip is not installed, does not know model or weights,
            cannot fetch them, or if they are damaged or of another network.
    """
    library = _import_open_clip()
    _check_names(library, model, weights)
    is_listed = library.is_pretrained_cfg(model, weights)
    if not is_listed:
        read_weights(Path(weights))  # says what is wrong with a file
    tag = weights if is_listed else _first(library.list_pretrained_tags_by_model(model))
    settings = library.get_pretrained_cfg(model, tag)
    given = {"mean": mean or settings.get("mean"), "std": std or settings.get("std")}
    try:
        with _without_log():
            network = library.create_model(
                model,
                weights,
                # open_clip only warns where its own weights need it
                force_quick_gelu=is_listed and settings.get("quick_gelu", False),
                force_preprocess_cfg={k: v for k, v in given.items() if v is not None},
                pretrained_text=False,
                weights_only=True,
            )
            tokenizer = library.get_tokenizer(model)
    except ImportError as error:
        raise ModelError(
            f"{model} needs {error.name} too; install it with "
            f'pip install "tag2mask[clip,open-clip]"'
        ) from None
    except _REFUSALS as error:
        raise _refusal(model, weights, error, is_listed=is_listed) from None
    return OpenClip(
        network,
        tokenizer,
        preprocessing=library.get_model_preprocess_cfg(network),
        name=f"{model} {weights if is_listed else Path(weights).name}",
        precision=precision,
    )


def _import_open_clip() -> Any:  # noqa: ANN401
    import_torchvision()
    try:
        import open_clip
    except ImportError:
        raise ModelError(
            "the image-text model open_clip needs open_clip_torch; install it with "
            'pip install "tag2mask[open-clip]"'
        ) from None
    return open_clip


def _check_names(library: Any, model: str, weights: str) -> None:  # noqa: ANN401
    known = library.list_models()
    if model not in known:
        near = difflib.get_close_matches(model, known, n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise ModelError(f"open_clip has no architecture {model!r}{hint}")
    if not library.is_pretrained_cfg(model, weights) and not Path(weights).is_file():
        listed = ", ".join(library.list_pretrained_tags_by_model(model)) or "none"
        raise ModelError(
            f"open_clip lists no weights {weights!r} of {model}, and there is no file "
            f"{Path(weights).absolute()}; it lists: {listed}"
        )


def _refusal(
    model: str, weights: str, error: Exception, *, is_listed: bool
) -> ModelError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if is_listed:
        return ModelError(
            f"the weights {weights} of {model} or their tokenizer cannot be had from "
            f"the hub ({reason}); check the connection, or name a local file"
        )
    return ModelError(
        f"{weights} cannot be loaded into open_clip's {model}, or the tokenizer of "
        f"that architecture cannot be had from the hub ({reason})"
    )


def _first(tags: Sequence[str]) -> str:
    return tags[0] if tags else ""


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep open_clip's log out: it repeats what the error here says."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
