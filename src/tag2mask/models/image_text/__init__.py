"""Image-text models: each kind is a module, all keep ``ImageTextModel``."""

from pathlib import Path
from typing import Any, Literal, assert_never

from tag2mask.models.image_text.clip import Clip, load_clip
from tag2mask.models.image_text.conse import Conse, load_conse
from tag2mask.models.image_text.open_clip import OpenClip, load_open_clip
from tag2mask.models.image_text.protocol import (
    DenseImageTextModel,
    ImageTextModel,
    Precision,
)
from tag2mask.models.image_text.sentences import load_sentence_encoder
from tag2mask.models.image_text.tiny import TinyImageText, load_tiny

__all__ = [
    "DenseImageTextModel",
    "ImageTextModel",
    "make_image_text_model",
]

ImageTextKind = Literal["clip", "open_clip", "conse", "tiny"]


def make_image_text_model(
    kind: ImageTextKind,
    *,
    precision: Precision = "32",
    **settings: Any,  # noqa: ANN401
) -> Clip | OpenClip | Conse | TinyImageText:
    """Load an image-text model; it stays frozen and in evaluation mode.

    Args:
        kind: Which of them; each loads weights that its library or a file has.
        precision: Of the image encoder: ``bf16`` on hardware that has it.
        settings: Those of ``load_clip``, ``load_open_clip``, ``load_conse`` or
            ``load_tiny``; for ``conse`` ``sentences`` is a name or folder for
            ``load_sentence_encoder``.

    Raises:
        ModelError: If an extra is not installed, or if model, weights or tokenizer
            cannot be had or do not fit.
        TypeError: If the kind has no such setting.
    """
    match kind:
        case "clip":
            return load_clip(precision=precision, **settings)
        case "open_clip":
            return load_open_clip(precision=precision, **settings)
        case "conse":
            named = [settings.pop(key) for key in ("sentences",) if key in settings]
            model = load_conse(load_sentence_encoder(*named), **settings)
            model.precision = precision
            return model
        case "tiny":
            folder = settings.pop("folder", None)
            return load_tiny(Path(folder) if folder else None, **settings)
        case _:
            assert_never(kind)
