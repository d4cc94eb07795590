"""Stage cam: activation maps of the train split, read off a trained classifier."""

from collections.abc import Sequence
from pathlib import Path

import torch

from tag2mask import config
from tag2mask.artifacts.cams import STRIDE, Cams, cam_path, write_cams
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.inference import activation_maps, batches_by_size, to_batch
from tag2mask.engine.map_images import read_ahead
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.models.cam_network import CamNetwork

VERSION = 1
_LESS_MEMORY = (
    "set voters' cam.precision = 'bf16', lower cam.scales, or use --device cpu"
)
_PIXELS_PER_BATCH = {"cpu": 400_000, "cuda": 4_000_000}


def run(
    index: Index,
    network: CamNetwork,
    settings: config.CamInference,
    folder: Path,
    *,
    scale: float,
    runtime: Runtime,
) -> None:
    """Write cams/IMAGE.npz for every image of the train split that lacks it.

    The voter's input scale ``scale`` multiplies every scale of ``settings``.
    """
    cams, device = folder / "cams", runtime.device
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = _unfinished(index.split("train"), cams, device)

    def read(batch: tuple[ImageRecord, ...]) -> list[torch.Tensor]:
        return [torch.from_numpy(read_indexed(index, image)) for image in batch]

    bf16 = settings.precision == "bf16"
    with (
        runtime.progress.task("cam", sum(map(len, batches))) as advance,
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
        explain_full_memory(_LESS_MEMORY),
    ):
        for batch, pixels in read_ahead(read, batches):
            maps = activation_maps(
                network.logit_maps,
                to_batch(pixels, device),
                scales=[scale * each for each in settings.scales],
                flip=settings.flip,
                stride=STRIDE,
            )
            for image, each in zip(batch, maps.float().cpu(), strict=True):
                tagged = each[[tag - 1 for tag in image.tags]]
                write_cams(cams, image.name, Cams(tagged, image.tags))
            advance(len(batch))


def _unfinished(
    images: Sequence[ImageRecord], cams: Path, device: torch.device
) -> list[tuple[ImageRecord, ...]]:
    """Return the batches that lack maps.

    Whole batches, so that a resumed run computes what an unbroken one does.
    """
    return [
        batch
        for batch in batches_by_size(images, pixels=_PIXELS_PER_BATCH[device.type])
        if not all(cam_path(cams, image.name).exists() for image in batch)
    ]
