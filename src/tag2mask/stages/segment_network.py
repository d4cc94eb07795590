"""A segmenter's network, its card, and what it started from, by a recipe's table."""

from pathlib import Path
from typing import Any, assert_never

from tag2mask import config
from tag2mask.models.segmenters import SegmenterNetwork, make_network
from tag2mask.models.transformer_segmenters import (
    MIT_WEIGHTS,
    SWIN_WEIGHTS,
    make_mask2former,
    make_segformer,
)
from tag2mask.stages.prompts import teacher_name
from tag2mask.stages.training import training_backbone


def build_network(settings: config.Segmenter, *, num_classes: int) -> SegmenterNetwork:
    """Build a segmenter, load what it starts from, and freeze what does not train.

    Raises:
        ModelError: If a part cannot be built, or weights do not fit or cannot be had.
    """
    match settings:
        case config.DeepLab():
            return make_network(
                training_backbone(settings),
                settings.network,
                num_classes=num_classes,
                rates=settings.rates,
                dropout=settings.dropout,
                neck=settings.neck,
            )
        case config.Segformer():
            segformer = make_segformer(
                settings.variant,
                num_classes=num_classes,
                weights=settings.weights,
                options=settings.options,
            )
            segformer.backbone.freeze(settings.freeze)
            return segformer
        case config.Mask2Former():
            mask2former = make_mask2former(
                settings.variant,
                num_classes=num_classes,
                weights=settings.weights,
                backbone_options=settings.backbone_options,
                options=settings.options,
            )
            mask2former.backbone.freeze(settings.freeze)
            return mask2former
        case _:
            assert_never(settings)


def model_card(
    settings: config.Segmenter, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return what is needed to build the network again, and what it started from."""
    keys: tuple[str, ...]
    match settings:
        case config.DeepLab():
            backbone = ("backbone", "backbone_options", "output_stride", "dilate")
            keys = ("rates", "neck", *backbone)
        case config.Segformer():
            keys = ("variant", "options")
        case config.Mask2Former():
            keys = ("variant", "options", "backbone_options")
        case _:
            assert_never(settings)
    return {
        "network": settings.network,
        **{key: getattr(settings, key) for key in keys},
        "class_names": list(class_names),
        "init": initialisation(settings),
    }


def initialisation(
    settings: config.Network | config.Segmenter | config.TextCam,
) -> str:
    """Say what a network started from, as a score's protocol does."""
    match settings:
        case config.Segformer():
            hub = f"ImageNet ({MIT_WEIGHTS[settings.variant]})"
            return f"segformer {settings.variant}: {_source(settings.weights, hub)}"
        case config.Mask2Former():
            name = SWIN_WEIGHTS[settings.variant]
            hub = f"ImageNet{'-22k' * name.endswith('in22k')} ({name})"
            return f"mask2former {settings.variant}: {_source(settings.weights, hub)}"
        case config.TextCam():
            return f"{teacher_name(settings.image_text)}: not trained"
        case config.DeepLab() if settings.init_from is not None:
            return f"{settings.backbone}: voter {settings.init_from}"
    source = _source(settings.weights, "ImageNet (timm hub)")
    taught = ""
    if isinstance(settings, config.CaCl | config.Clims):
        warm = ", warm start" * settings.warm_start
        taught = f"{warm}, taught by {teacher_name(settings.image_text)}"
    return f"{settings.backbone}: {source}{taught}"


def _source(weights: str, hub: str) -> str:
    """Name weights without the folder that they are in."""
    words = {"hub": hub, "none": "random"}
    path = Path(weights)
    is_local = path.exists() or path.suffix in (".pth", ".safetensors")
    return words.get(weights, path.name if is_local else weights)
