"""Stage predict: label maps of images, by a trained segmenter."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.data.images import read_image
from tag2mask.engine.inference import class_logits, to_batch
from tag2mask.engine.map_images import in_threads, read_ahead
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.crf import dense_crf

VERSION = 1
_LESS_MEMORY = (
    "lower predict.scales, set predict.precision = 'bf16', or use --device cpu"
)
_LEAST_PROBABILITY = 0.01
"""Labels that reach it nowhere are left out of the CRF."""


class Subject(NamedTuple):
    """An image to predict: its name in the output, and its file."""

    name: str
    path: Path


def run(
    network: nn.Module,
    images: Sequence[Subject],
    settings: config.Predict,
    labels: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write LABELS/NAME.png for every image, one at a time.

    One image a step, so that the labels of an image do not depend on its company; on a
    CPU, threads run the CRFs of the last few images while the network sees the next.
    Images that have labels already are left alone.

    Args:
        network: In evaluation mode.
        images: What to predict.
        settings: Scales, mirror, CRF and precision.
        labels: Folder of the label maps.
        runtime: Where to compute.
    """
    done = LabelFolder(labels)
    network.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    missing = [image for image in images if image.name not in done]

    def read(image: Subject) -> UInt8[Tensor, "h w 3"]:
        return torch.from_numpy(read_image(image.path))

    def seen() -> Iterator[tuple[Subject, Tensor, Float[Tensor, "k h w"]]]:
        for image, pixels in read_ahead(read, missing):
            yield image, pixels, _logits(network, pixels, settings, runtime.device)

    def label(step: tuple[Subject, Tensor, Float[Tensor, "k h w"]]) -> None:
        image, pixels, logits = step
        write_labels(labels, image.name, _labels(logits, pixels, settings))

    on_cpu = runtime.device.type == "cpu" and settings.crf != "none"
    workers = runtime.workers if on_cpu else 1
    with runtime.progress.task("predict", len(missing)) as advance:
        for _ in in_threads(label, seen(), workers=workers):
            advance(1)


def predict_labels(
    network: nn.Module,
    image: UInt8[Tensor, "h w 3"],
    settings: config.Predict,
    device: torch.device,
) -> UInt8[Tensor, "h w"]:
    """Return the class of each pixel of an image of any size; it never sees tags."""
    logits = _logits(network, image, settings, device)
    return _labels(logits, image, settings)


def _logits(
    network: nn.Module,
    image: UInt8[Tensor, "h w 3"],
    settings: config.Predict,
    device: torch.device,
) -> Float[Tensor, "k h w"]:
    bf16 = settings.precision == "bf16"
    with (
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
        explain_full_memory(_LESS_MEMORY),
    ):
        return class_logits(
            network,
            to_batch([image], device),
            scales=settings.scales,
            flip=settings.flip,
        )[0]


def _labels(
    logits: Float[Tensor, "k h w"],
    image: UInt8[Tensor, "h w 3"],
    settings: config.Predict,
) -> UInt8[Tensor, "h w"]:
    """Return the likeliest class of each pixel, after the CRF if it is asked for."""
    if settings.crf != "none":
        with explain_full_memory(_LESS_MEMORY):
            logits = dense_crf(
                logits.softmax(0),
                image,
                preset=settings.crf,
                min_score=_LEAST_PROBABILITY,
            )
    # the first of equal ones, as argmax, in a tenth of its time
    return logits.max(dim=0).indices.to(torch.uint8).cpu()
