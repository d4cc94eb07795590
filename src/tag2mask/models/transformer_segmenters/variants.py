"""The published sizes of the networks, and how options change them."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Literal

from tag2mask.errors import ModelError

MitVariant = Literal["b0", "b1", "b2", "b3", "b4", "b5"]
SwinVariant = Literal["swin-tiny", "swin-small", "swin-base", "swin-large"]
Options = Mapping[str, bool | int | float | str | list[int] | tuple[int, ...]]

_WIDE = (64, 128, 320, 512)
_MIT: dict[MitVariant, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": (_WIDE, (2, 2, 2, 2), 256),
    "b2": (_WIDE, (3, 4, 6, 3), 768),
    "b3": (_WIDE, (3, 4, 18, 3), 768),
    "b4": (_WIDE, (3, 8, 27, 3), 768),
    "b5": (_WIDE, (3, 6, 40, 3), 768),
}
"""Channels and layers of each stage, channels of the decoder (Xie et al., NeurIPS 2021,
tables 6 and 7)."""
_SWIN: dict[SwinVariant, tuple[int, tuple[int, ...], tuple[int, ...], int]] = {
    "swin-tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "swin-small": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7),
    "swin-base": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
    "swin-large": (192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
}
"""Channels, layers, heads, window (Liu et al., ICCV 2021, section 3.3); windows are
those of the weights below."""
MIT_WEIGHTS: dict[MitVariant, str] = {each: f"nvidia/mit-{each}" for each in _MIT}
"""Encoders trained on ImageNet, by their names on the hub."""
SWIN_WEIGHTS: dict[SwinVariant, str] = {
    "swin-tiny": "microsoft/swin-tiny-patch4-window7-224",
    "swin-small": "microsoft/swin-small-patch4-window7-224",
    "swin-base": "microsoft/swin-base-patch4-window12-384-in22k",
    "swin-large": "microsoft/swin-large-patch4-window12-384-in22k",
}
"""Likewise; base and large of ImageNet-22k."""


def mit_settings(variant: MitVariant) -> dict[str, Any]:
    """Return what a ``SegformerConfig`` says of a variant."""
    channels, layers, decoder = _MIT[variant]
    return {
        "hidden_sizes": channels,
        "depths": layers,
        "num_attention_heads": (1, 2, 5, 8),
        "decoder_hidden_size": decoder,
        "drop_path_rate": 0.1,
    }


def swin_settings(variant: SwinVariant) -> dict[str, Any]:
    """Return what a ``SwinConfig`` says of a variant, as Mask2Former reads it."""
    channels, layers, heads, window = _SWIN[variant]
    return {
        "embed_dim": channels,
        "depths": layers,
        "num_heads": heads,
        "window_size": window,
        "drop_path_rate": 0.3,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }


def make_config(
    kind: Any,  # noqa: ANN401
    settings: Mapping[str, Any],
    options: Options,
    *,
    key: str,
) -> Any:  # noqa: ANN401
    """Return a configuration of transformers, options going before settings.

    Args:
        kind: Its class.
        settings: Of the variant.
        options: Of the user.
        key: Where the user wrote them, for messages.

    Raises:
        ModelError: If an option is unknown or its value cannot be.
    """
    known = [f.name for f in dataclasses.fields(kind) if not f.name.startswith("_")]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ModelError(f"{key}: {kind.__name__} has no option {name!r}{hint}")
    from huggingface_hub.errors import StrictDataclassError

    try:
        return kind(**{**settings, **options})
    except (TypeError, ValueError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{key}: {kind.__name__} refuses it ({reason})") from None
