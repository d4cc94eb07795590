"""Stage seed: activation maps become a first label map."""

from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from tag2mask import config
from tag2mask.artifacts.cams import Cams, read_cams
from tag2mask.artifacts.files import write_json
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.crf import PRESETS, dense_crf
from tag2mask.functional.seeding import (
    alpha_of_threshold,
    background_score,
    join_background,
    labels_from_scores,
)
from tag2mask.functional.shapes import BACKGROUND

VERSION = 3
ALPHA = "alpha.json"


def run(
    index: Index,
    cams: Path,
    settings: config.Seeding,
    folder: Path,
    *,
    threshold: float,
    runtime: Runtime,
) -> None:
    """Write labels/IMAGE.png for every image of the train split.

    Where alpha is found and not given, alpha.json says how and what was found.

    Args:
        index: The images.
        cams: Folder of the voter's activation maps.
        settings: Background score and CRF.
        folder: Where the labels go; images that are there are not computed again.
        threshold: Between background and objects, for an alpha that is a word.
        runtime: How many threads.
    """
    labels = LabelFolder(folder / "labels")
    if isinstance(settings.alpha, str):
        alpha = alpha_of_threshold(threshold)
        found = {"by": settings.alpha, "threshold": threshold, "alpha": alpha}
        write_json(folder / ALPHA, found)
        settings = settings.model_copy(update={"alpha": alpha})

    def label(image: ImageRecord) -> None:
        pixels = torch.from_numpy(read_indexed(index, image))
        seed = seed_labels(read_cams(cams, image.name), pixels, settings)
        write_labels(labels.folder, image.name, seed)

    missing = [image for image in index.split("train") if image.name not in labels]
    for_each_image(label, missing, runtime=runtime, title="seed")


def seed_labels(
    cams: Cams, image: UInt8[Tensor, "h w 3"], settings: config.Seeding
) -> UInt8[Tensor, "h w"]:
    """Return the seed of one image: background or one of its tags per pixel."""
    height, width, _ = image.shape
    class_ids = (BACKGROUND, *cams.class_ids)
    if settings.crf == "none":
        scores = _with_background(cams.at(height, width), settings)
        return labels_from_scores(scores, class_ids)
    small = -(-height // settings.crf_shrink), -(-width // settings.crf_shrink)
    scores = _with_background(cams.at(*small), settings)
    preset = PRESETS[settings.crf].shrunk(settings.crf_shrink)
    marginals = dense_crf(scores, shrink_image(image, small), preset=preset)
    if small != (height, width):
        marginals = functional.interpolate(
            marginals[None], (height, width), mode="bilinear", align_corners=False
        )[0]
    return labels_from_scores(marginals, class_ids)


def _with_background(
    cams: Float[Tensor, "t h w"], settings: config.Seeding
) -> Float[Tensor, "k h w"]:
    if settings.background is not None:
        return join_background(cams, settings.background)
    if not isinstance(settings.alpha, float):
        raise TypeError(f"alpha must be a number by now, got {settings.alpha!r}")
    return join_background(cams, background_score(cams, alpha=settings.alpha))


def shrink_image(
    image: UInt8[Tensor, "h w 3"], size: tuple[int, int]
) -> UInt8[Tensor, "sh sw 3"]:
    """Return an RGB image at a smaller size (height, width); unchanged at its own."""
    if size == tuple(image.shape[:2]):
        return image
    channels_first = image.permute(2, 0, 1)[None]
    small = functional.interpolate(
        channels_first, size, mode="bilinear", align_corners=False, antialias=True
    )
    return small[0].permute(1, 2, 0)
