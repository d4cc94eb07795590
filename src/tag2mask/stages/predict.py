"""Stage predict: label maps of images, by a trained segmenter."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.data.images import read_image
from tag2mask.engine.inference import class_logits, to_batch
from tag2mask.engine.map_images import for_each_image, in_threads, read_ahead
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.crf import dense_crf
from tag2mask.functional.presence import weigh_by_presence

VERSION = 1
_LESS_MEMORY = (
    "lower `scales` of predict or of segment.second_round, set their `precision` to "
    "'bf16', their `crf` to 'none', or use --device cpu"
)
_LEAST_PROBABILITY = 0.01
"""Labels that reach it nowhere are left out of the CRF."""


Image = TypeVar("Image")


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
    """Write LABELS/NAME.png for every image; those that are there are left alone.

    Args:
        network: In evaluation mode.
        images: What to predict.
        settings: The protocol.
        labels: Folder of the label maps.
        runtime: Where to compute.
    """
    done = LabelFolder(labels)

    def label(
        image: Subject, pixels: UInt8[Tensor, "h w 3"], logits: Float[Tensor, "k h w"]
    ) -> None:
        scores = _weigh(logits[None], settings)[0]
        refined = _refined(scores, pixels, settings)
        write_labels(labels, image.name, pick_labels(refined))

    missing = [image for image in images if image.name not in done]
    predict_each(network, missing, settings, _read, label, runtime=runtime)


def _read(image: Subject) -> UInt8[Tensor, "h w 3"]:
    return torch.from_numpy(read_image(image.path))


def predict_each(
    network: nn.Module,
    images: Sequence[Image],
    settings: config.Views,
    read: Callable[[Image], UInt8[Tensor, "h w 3"]],
    use: Callable[[Image, UInt8[Tensor, "h w 3"], Float[Tensor, "k h w"]], None],
    *,
    runtime: Runtime,
) -> None:
    """Hand the logits of every image to ``use``, each seen by itself.

    So the labels of an image do not depend on its company. On a CPU images are read,
    seen and used by several threads; on a GPU one thread uses the last few images while
    the network sees the next.

    Args:
        network: In evaluation mode.
        images: What to predict.
        settings: Scales, mirror and precision; what follows is up to ``use``.
        read: Returns the RGB values of an image.
        use: Takes an image, its RGB values and its logits, at its size.
        runtime: Where to compute.
    """
    network.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def see(image: Image, pixels: Tensor) -> tuple[Image, Tensor, Tensor]:
        return image, pixels, _logits(network, [pixels], settings, runtime.device)[0]

    if runtime.device.type == "cpu":
        for_each_image(
            lambda image: use(*see(image, read(image))),
            images,
            runtime=runtime,
            title="predict",
        )
        return
    seen = (see(*pair) for pair in read_ahead(read, images))
    with runtime.progress.task("predict", len(images)) as advance:
        for _ in in_threads(lambda step: use(*step), seen, workers=1):
            advance(1)


def predict_labels(
    network: nn.Module,
    image: UInt8[Tensor, "h w 3"],
    settings: config.Predict,
    device: torch.device,
) -> UInt8[Tensor, "h w"]:
    """Return the class of each pixel of an image of any size; it never sees tags."""
    return pick_labels(predict_scores(network, [image], settings, device)[0])


def predict_scores(
    network: nn.Module,
    images: Sequence[UInt8[Tensor, "h w 3"]],
    settings: config.Predict,
    device: torch.device,
) -> Float[Tensor, "b k h w"]:
    """Return how each class scores at each pixel: logits, or marginals of the CRF.

    Args:
        network: In evaluation mode.
        images: All of one size. In a batch the last bits of a score may differ from
            those of the image alone.
        settings: The protocol.
        device: Where the network is.
    """
    logits = _weigh(_logits(network, images, settings, device), settings)
    if settings.crf == "none":
        return logits
    pairs = zip(logits, images, strict=True)
    return torch.stack([_refined(each, image, settings) for each, image in pairs])


def pick_labels(scores: Float[Tensor, "k h w"]) -> UInt8[Tensor, "h w"]:
    """Return the class that scores best at each pixel, the first of equal ones."""
    # as argmax, in a tenth of its time
    return scores.max(dim=0).indices.to(torch.uint8).cpu()


def _logits(
    network: nn.Module,
    images: Sequence[UInt8[Tensor, "h w 3"]],
    settings: config.Views,
    device: torch.device,
) -> Float[Tensor, "b k h w"]:
    bf16 = settings.precision == "bf16"
    with (
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
        explain_full_memory(_LESS_MEMORY),
    ):
        return class_logits(
            network,
            to_batch(images, device),
            scales=settings.scales,
            flip=settings.flip,
        )


def _weigh(
    logits: Float[Tensor, "b k h w"], settings: config.Predict
) -> Float[Tensor, "b k h w"]:
    if settings.presence == 0:
        return logits
    with explain_full_memory(_LESS_MEMORY):
        return weigh_by_presence(logits, strength=settings.presence)


def _refined(
    logits: Float[Tensor, "k h w"],
    image: UInt8[Tensor, "h w 3"],
    settings: config.Predict,
) -> Float[Tensor, "k h w"]:
    """Return the scores after the CRF, if it is asked for."""
    if settings.crf == "none":
        return logits
    with explain_full_memory(_LESS_MEMORY):
        return dense_crf(
            logits.softmax(0),
            image,
            preset=settings.crf,
            min_score=_LEAST_PROBABILITY,
        )
