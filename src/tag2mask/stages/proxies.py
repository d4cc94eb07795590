"""Stage proxies: what can be told of labels without any mask."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from tag2mask.artifacts.files import write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_image
from tag2mask.engine.inference import batches_by_size, to_batch
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.metrics import (
    confusion_matrix,
    mean_average_precision,
    scores_of,
)
from tag2mask.functional.shapes import IGNORE
from tag2mask.stages.samples import pick_samples
from tag2mask.stages.training import multi_hot

VERSION = 3
PROXIES = "proxies.json"
_DIGITS = 4
_LEAST = 12
_PIXELS_PER_BATCH = 400_000
_LEAST_GAIN = 0.2
"""Of what is above chance, that a classifier must reach."""
_FOUND = 0.005
"""Share of an image that a class must cover to count as found."""


def of_vote(
    voters: Mapping[str, LabelFolder],
    voted: Path,
    images: Sequence[ImageRecord],
    folder: Path,
    *,
    num_classes: int,
    runtime: Runtime,
) -> None:
    """Write how far the voters agree: with the vote, and on how many pixels.

    ``agreement`` is a voter's mIoU in percent with the vote in the place of truth;
    ``coverage`` is the share of pixels with at least t equal votes; the images on
    which the voters agree least are named, and for each tag those on which they agree
    least and most.
    """

    def count(image: ImageRecord) -> tuple[np.ndarray, np.ndarray]:
        ballots = [voter[image.name].numpy() for voter in voters.values()]
        return _count(ballots, voted, image.name, num_classes)

    confusion = np.zeros((len(voters), num_classes, num_classes + 1), np.int64)
    histogram = np.zeros(len(voters) + 1, np.int64)
    unanimity, tag_unanimity = [], {}
    counted = map_images(count, images, runtime=runtime, title="agreement")
    for image, (matrices, votes) in zip(images, counted, strict=True):
        confusion += matrices
        histogram += votes
        unanimous = float(votes[-1] / votes.sum())
        unanimity.append((unanimous, image.name))
        has_tag = np.isin(np.arange(num_classes), image.tags)
        tag_unanimity[image.name] = np.where(has_tag, unanimous, np.nan)
    agreement = [_percent(scores_of(each).miou) for each in confusion]
    record = {
        "agreement": dict(zip(voters, agreement, strict=True)),
        "coverage": _coverage(histogram),
        "least_agreement": [
            {"image": name, "unanimous": _percent(share)}
            for share, name in sorted(unanimity)[:_LEAST]
        ],
        "samples": pick_samples(tag_unanimity, measure="unanimous"),
    }
    write_json(folder / PROXIES, record)


def _count(
    ballots: Sequence[np.ndarray], voted: Path, name: str, num_classes: int
) -> tuple[Int64[np.ndarray, "v k k+1"], Int64[np.ndarray, " v+1"]]:
    """Return a confusion matrix for each ballot, and the pixels of each support."""
    vote = LabelFolder(voted / "labels")[name].numpy()
    support = LabelFolder(voted / "support")[name].numpy()
    confusions = [
        confusion_matrix(ballot, vote, num_classes=num_classes) for ballot in ballots
    ]
    return np.stack(confusions), np.bincount(
        support.ravel(), minlength=len(ballots) + 1
    )


def _coverage(histogram: Int64[np.ndarray, " n"]) -> dict[str, float]:
    """Return the share of pixels with at least t votes, from counts of each support."""
    at_least = histogram[::-1].cumsum()[::-1] / histogram.sum()
    return {str(t): _percent(at_least[t]) for t in range(1, len(at_least))}


def _percent(share: float) -> float:
    return round(100 * float(share), _DIGITS)


def of_classifier(
    network: nn.Module,
    index: Index,
    images: Sequence[ImageRecord],
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write how well a classifier ranks unseen images: ``tag_map``, in percent.

    The mean over tags of the average precision, at the images' own size, one view;
    tags that no image has do not count. ``by_chance`` is what a blind one reaches, the
    mean over tags of the share of images that have them.
    """
    network.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = list(batches_by_size(images, pixels=_PIXELS_PER_BATCH))
    scores, tags = [], []
    with runtime.progress.task("tags", len(images)) as advance, torch.inference_mode():
        for batch in batches:
            pixels = [torch.from_numpy(read_image(index.path(each))) for each in batch]
            scores.append(network(to_batch(pixels, runtime.device)).float().cpu())
            tags += [multi_hot(each.tags, index.num_classes) > 0 for each in batch]
            advance(len(batch))
    has_tag = np.stack(tags)
    shares = has_tag.mean(axis=0)
    record = {
        "tag_map": _percent(mean_average_precision(torch.cat(scores).numpy(), has_tag)),
        "by_chance": _percent(shares[shares > 0].mean() if shares.any() else 0.0),
    }
    write_json(folder / PROXIES, record)


def untaught(record: Mapping[str, float]) -> str:
    """Say so where a classifier ranks unseen images hardly better than blindly."""
    found, chance = record["tag_map"], record["by_chance"]
    if found - chance >= _LEAST_GAIN * (100 - chance):
        return ""
    return (
        f"tag mAP {found:.0f} % on unseen images, {chance:.0f} % by chance: it has "
        f"hardly learnt the tags, so that its maps show nothing; lower learning_rate, "
        f"freeze the first blocks of its backbone, or give it more steps"
    )


def of_prediction(
    labels: LabelFolder,
    images: Sequence[ImageRecord],
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write how well the classes that are predicted match the images' tags.

    ``tag_recall`` is the share of tags whose class is found in the image,
    ``tag_precision`` the share of found classes that are tags; a class is found where
    it covers at least 0.5 % of the image. ``by_class`` has both for each class that is
    a tag or found anywhere, by its id; None where there is no such tag or find.
    """

    def count(image: ImageRecord) -> Int64[np.ndarray, "3 256"]:
        pixels = np.bincount(labels[image.name].numpy().ravel(), minlength=256)
        pixels[[0, IGNORE]] = 0
        is_found = pixels >= _FOUND * image.width * image.height
        is_tag = np.zeros(256, bool)
        is_tag[list(image.tags)] = True
        return np.stack([is_found & is_tag, is_tag, is_found]).astype(np.int64)

    total = np.zeros((3, 256), np.int64)
    for each in map_images(count, images, runtime=runtime, title="tag recall"):
        total += each
    both, tags, found = total.sum(axis=1).tolist()
    record = {
        "tag_recall": _percent(both / max(1, tags)),
        "tag_precision": _percent(both / max(1, found)),
        "by_class": {
            str(class_id): _describe_tags(total[:, class_id])
            for class_id in np.flatnonzero(total.any(axis=0)).tolist()
        },
    }
    write_json(folder / PROXIES, record)


def _describe_tags(counts: Int64[np.ndarray, "3"]) -> dict[str, float | None]:
    both, tags, found = counts.tolist()
    return {
        "tag_recall": _percent(both / tags) if tags else None,
        "tag_precision": _percent(both / found) if found else None,
    }
