"""The card of a segmenter, checked before anything is built from it.

A card may come from anyone: from the hub, or in a folder that somebody sent.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from tag2mask.artifacts.files import read_json
from tag2mask.errors import ModelError
from tag2mask.functional.shapes import MAX_CLASSES
from tag2mask.models.deeplab import NECK_GROUPS, WIDEST_NECK
from tag2mask.models.transformer_segmenters.variants import MitVariant, SwinVariant

_DEEPLAB = {
    "backbone", "backbone_options", "output_stride", "dilate", "rates", "neck"
}  # fmt: skip
_NEEDED = {
    "deeplab_v1": _DEEPLAB,
    "deeplab_v2": _DEEPLAB,
    "segformer": {"variant", "options"},
    "mask2former": {"variant", "options", "backbone_options"},
}
"""What a card says of each network, beside ``network`` and ``class_names``."""
_ADDED = {"neck": 0}
"""What cards of older versions lack, and what they meant."""
_VARIANTS = {"segformer": get_args(MitVariant), "mask2former": get_args(SwinVariant)}
_MOST_RATE = 1024
_PLAIN = str | int | float | bool


def read_card(path: Path) -> dict[str, Any]:
    """Read a card whose every value is of the kind that its network takes.

    Raises:
        ArtifactError: If it is no JSON.
        ModelError: If a key is missing or wrong, naming it.
    """
    card = read_json(path)
    known = card if isinstance(card, dict) else {}
    needed = _NEEDED.get(str(known.get("network")), _DEEPLAB)
    known = {key: _ADDED[key] for key in needed & set(_ADDED)} | known
    missing = (needed | {"network", "class_names"}) - set(known)
    if missing:
        raise ModelError(
            f"{path} is no card of a segmenter: it lacks {', '.join(sorted(missing))}"
        )
    network = known["network"]
    if not isinstance(network, str) or network not in _NEEDED:
        raise ModelError(
            f"{path}: network {network!r} is unknown; this version has "
            f"{', '.join(_NEEDED)}"
        )
    _refuse_strange(known, network, path)
    return known


def _refuse_strange(card: Mapping[str, Any], network: str, path: Path) -> None:
    checks = {key: _CHECKS[key] for key in (*_NEEDED[network], "class_names")}
    if network not in _VARIANTS:  # timm's backbones take no lists
        checks["backbone_options"] = _PLAIN_OPTIONS
    for key, (expected, is_right) in checks.items():
        if not is_right(card[key]):
            raise ModelError(f"{path}: {key} must be {expected}, got {card[key]!r}")
    variants = _VARIANTS.get(network, ())
    if variants and card["variant"] not in variants:
        raise ModelError(
            f"{path}: {network} has no variant {card['variant']!r}; there are "
            f"{', '.join(variants)}"
        )


def _are_names(value: object) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CLASSES:
        return False
    return all(isinstance(each, str) for each in value)


def _are_rates(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or not value:
        return False
    # not isinstance, since true is a number too
    return all(type(each) is int and 1 <= each <= _MOST_RATE for each in value)


def _is_neck(value: object) -> bool:
    if type(value) is not int:
        return False
    return 0 <= value <= WIDEST_NECK and value % NECK_GROUPS == 0


def _are_options(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(
        isinstance(part, _PLAIN)
        for each in value.values()
        for part in (each if isinstance(each, list) else [each])
    )


def _are_plain_options(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(isinstance(each, _PLAIN) for each in value.values())


_PLAIN_OPTIONS = ("a table of numbers and texts", _are_plain_options)
_OPTIONS = ("a table of numbers, texts and lists of them", _are_options)
_CHECKS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "class_names": (f"1 to {MAX_CLASSES} names", _are_names),
    "backbone": ("a name", lambda value: isinstance(value, str)),
    "backbone_options": _OPTIONS,
    "options": _OPTIONS,
    "output_stride": ("8, 16 or 32", lambda value: value in (8, 16, 32)),
    "dilate": ("true or false", lambda value: isinstance(value, bool)),
    "rates": (f"whole numbers from 1 to {_MOST_RATE}, or null", _are_rates),
    "neck": (f"0 to {WIDEST_NECK} by {NECK_GROUPS}", _is_neck),
    "variant": ("a name", lambda value: isinstance(value, str)),
}
