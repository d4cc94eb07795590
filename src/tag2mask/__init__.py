"""From image-level tags to segmentation masks to a small deployable segmenter.

    from tag2mask import load_recipe, run
    summary = run(load_recipe("recipes/toy.toml"), "work")

Names are imported when they are first used, so that importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tag2mask.config import Recipe, load_recipe
    from tag2mask.data.toy import write_toy_world
    from tag2mask.engine.runtime import Runtime
    from tag2mask.errors import Tag2MaskError
    from tag2mask.models.segmenters import Segmenter
    from tag2mask.pipeline import plan, run
    from tag2mask.prediction import (
        evaluate_folders,
        load_segmenter,
        predict_files,
        segment_image,
    )
    from tag2mask.segmentation import Segmentation

__all__ = [
    "Recipe",
    "Runtime",
    "Segmentation",
    "Segmenter",
    "Tag2MaskError",
    "evaluate_folders",
    "load_recipe",
    "load_segmenter",
    "plan",
    "predict_files",
    "run",
    "segment_image",
    "write_toy_world",
]

_HOMES = {
    "Recipe": "config",
    "Runtime": "engine.runtime",
    "Segmentation": "segmentation",
    "Segmenter": "models.segmenters",
    "Tag2MaskError": "errors",
    "evaluate_folders": "prediction",
    "load_recipe": "config",
    "load_segmenter": "prediction",
    "plan": "pipeline",
    "predict_files": "prediction",
    "run": "pipeline",
    "segment_image": "prediction",
    "write_toy_world": "data.toy",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
