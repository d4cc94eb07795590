"""Stage cam: activation maps of the train split, read off a network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tag2mask import config
from tag2mask.artifacts.cams import STRIDE, Cams, cam_path, read_cams, write_cams
from tag2mask.artifacts.files import read_json, write_json
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.inference import (
    PIXELS_PER_BATCH,
    activation_maps,
    batches_by_size,
    to_batch,
)
from tag2mask.engine.map_images import map_images, see_each
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.thresholds import otsu_threshold
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.monte_carlo import MonteCarloCam
from tag2mask.models.text_maps import TextMaps

VERSION = 2
THRESHOLD = "threshold.json"
_NUM_BINS = 200
_LESS_MEMORY = (
    "set voters' cam.precision = 'bf16', lower cam.scales, or use --device cpu"
)


def run(
    index: Index,
    network: CamNetwork | MonteCarloCam | TextMaps,
    settings: config.CamInference | config.TextViews,
    folder: Path,
    *,
    scale: float,
    runtime: Runtime,
) -> None:
    """Write cams/IMAGE.npz for every image of the train split that lacks it.

    Then write threshold.json: the label-free threshold between background and objects.
    The voter's input scale ``scale`` multiplies every scale of ``settings``.
    """
    cams, device = folder / "cams", runtime.device
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scales = [scale * each for each in settings.scales]
    most_pixels = int(PIXELS_PER_BATCH[device.type] / max(1.0, *scales) ** 2)
    batches = _unfinished(index.split("train"), cams, pixels=most_pixels)

    def read(batch: tuple[ImageRecord, ...]) -> list[torch.Tensor]:
        return [torch.from_numpy(read_indexed(index, image)) for image in batch]

    # an image-text model has a precision of its own
    bf16 = isinstance(settings, config.CamInference) and settings.precision == "bf16"

    def see(batch: tuple[ImageRecord, ...], pixels: list[torch.Tensor]) -> None:
        if isinstance(network, MonteCarloCam):
            network.look_at([image.name for image in batch])
        with (
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
            explain_full_memory(_LESS_MEMORY),
        ):
            maps = activation_maps(
                network.logit_maps,
                to_batch(pixels, device),
                scales=scales,
                flip=settings.flip,
                contrast=settings.contrast,
                stride=STRIDE,
            )
        for image, each in zip(batch, maps.float().cpu(), strict=True):
            tagged = each[[tag - 1 for tag in image.tags]]
            write_cams(cams, image.name, Cams(tagged, image.tags))

    # it knows whose masks to draw: one batch at a time
    turns = (
        replace(runtime, workers=1) if isinstance(network, MonteCarloCam) else runtime
    )
    see_each(read, see, batches, runtime=turns, title="cam")
    threshold = label_free_threshold(index, cams, runtime=runtime)
    write_json(folder / THRESHOLD, {"otsu": threshold})


def label_free_threshold(index: Index, cams: Path, *, runtime: Runtime) -> float:
    """Return Otsu's threshold of every tagged pixel's highest score."""

    def count(image: ImageRecord) -> np.ndarray:
        highest = read_cams(cams, image.name).maps.amax(dim=0).numpy()
        return np.histogram(highest, _NUM_BINS, (0, 1))[0]

    tagged = [image for image in index.split("train") if image.tags]
    total = np.zeros(_NUM_BINS, np.int64)
    for each in map_images(count, tagged, runtime=runtime, title="threshold"):
        total += each
    return otsu_threshold(total)


def read_threshold(folder: Path) -> float:
    """Return the label-free threshold of a finished folder of activation maps."""
    return float(read_json(folder / THRESHOLD)["otsu"])


def _unfinished(
    images: Sequence[ImageRecord], cams: Path, *, pixels: int
) -> list[tuple[ImageRecord, ...]]:
    """Return the batches that lack maps.

    Whole batches, so that a resumed run computes what an unbroken one does.
    """
    return [
        batch
        for batch in batches_by_size(images, pixels=pixels)
        if not all(cam_path(cams, image.name).exists() for image in batch)
    ]
