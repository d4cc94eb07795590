"""Stage seed: activation maps become a first label map."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from tag2mask import config
from tag2mask.artifacts.cams import Cams, read_cams
from tag2mask.artifacts.files import read_json, write_json
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.crf import PRESETS, dense_crf
from tag2mask.functional.seeding import (
    alpha_of_threshold,
    background_score,
    join_background,
    labels_from_scores,
)
from tag2mask.functional.shapes import BACKGROUND

VERSION = 4
ALPHA = "alpha.json"
CPU = torch.device("cpu")
LESS_MEMORY = "lower --workers, shrink the CRF's images, or use --device cpu"


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
        runtime: How many threads, and where the CRF runs.
    """
    labels = LabelFolder(folder / "labels")
    if isinstance(settings.alpha, str):
        alpha = alpha_of_threshold(threshold)
        found = {"by": settings.alpha, "threshold": threshold, "alpha": alpha}
        write_json(folder / ALPHA, found)
        settings = settings.model_copy(update={"alpha": alpha})

    def label(image: ImageRecord) -> None:
        pixels = torch.from_numpy(read_indexed(index, image))
        found = read_cams(cams, image.name)
        with explain_full_memory(LESS_MEMORY):
            seed = seed_labels(found, pixels, settings, runtime.device)
        write_labels(labels.folder, image.name, seed)

    missing = [image for image in index.split("train") if image.name not in labels]
    for_each_image(label, missing, runtime=runtime, title="seed")


def settled(settings: config.Seeding, folder: Path) -> config.Seeding:
    """Return settings with the alpha as a number that a finished folder found."""
    if not isinstance(settings.alpha, str):
        return settings
    alpha = float(read_json(folder / ALPHA)["alpha"])
    return settings.model_copy(update={"alpha": alpha})


def exponent_of(settings: config.Seeding) -> float:
    """Return the settled alpha; of a constant, the one that ties at that score."""
    if settings.background is not None:
        return alpha_of_threshold(settings.background)
    if not isinstance(settings.alpha, float):
        raise TypeError(f"alpha must be a number by now, got {settings.alpha!r}")
    return settings.alpha


def seed_labels(
    cams: Cams,
    image: UInt8[Tensor, "h w 3"],
    settings: config.Seeding,
    device: torch.device = CPU,
) -> UInt8[Tensor, "h w"]:
    """Return the seed of one image: background or one of its tags per pixel.

    Args:
        cams: Activation maps of its tags.
        image: The true RGB values.
        settings: Background score, as a number, and CRF.
        device: Where the CRF runs.
    """
    return label_image(
        lambda height, width: class_scores(cams.at(height, width), settings),
        (BACKGROUND, *cams.class_ids),
        image,
        crf=settings.crf,
        crf_shrink=settings.crf_shrink,
        device=device,
    )


def label_image(
    scores_at: Callable[[int, int], Float[Tensor, "k h w"]],
    class_ids: Sequence[int],
    image: UInt8[Tensor, "h w 3"],
    *,
    crf: config.Crf,
    crf_shrink: int,
    device: torch.device,
) -> UInt8[Tensor, "h w"]:
    """Give each pixel of an image one of a few classes, after a CRF if it is asked for.

    Args:
        scores_at: Scores of the classes at a height and a width.
        class_ids: Which classes these are, background first.
        image: The true RGB values.
        crf: Its preset, or ``none``.
        crf_shrink: Run it on an image this many times smaller.
        device: Where it runs.
    """
    height, width, _ = image.shape
    if crf == "none":
        return labels_from_scores(scores_at(height, width), class_ids)
    small = -(-height // crf_shrink), -(-width // crf_shrink)
    preset = PRESETS[crf].shrunk(crf_shrink)
    scores = scores_at(*small).to(device)
    marginals = dense_crf(scores, shrink_image(image, small), preset=preset)
    if small != (height, width):
        marginals = functional.interpolate(
            marginals[None], (height, width), mode="bilinear", align_corners=False
        )[0]
    return labels_from_scores(marginals, class_ids)


def class_scores(
    cams: Float[Tensor, "t h w"], settings: config.Seeding
) -> Float[Tensor, "k h w"]:
    """Return activation maps behind their background score; alpha is a number."""
    if settings.background is not None:
        return join_background(cams, settings.background)
    return join_background(cams, background_score(cams, alpha=exponent_of(settings)))


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
