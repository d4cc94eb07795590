"""Stage proxies: what can be told of labels without any mask."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tag2mask.artifacts.files import write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.metrics import confusion_matrix, scores_of
from tag2mask.functional.shapes import IGNORE

VERSION = 1
PROXIES = "proxies.json"


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
    which the voters agree least are named.
    """
    labels, support = LabelFolder(voted / "labels"), LabelFolder(voted / "support")

    def count(image: ImageRecord) -> tuple[np.ndarray, np.ndarray]:
        vote = labels[image.name].numpy()
        confusions = [
            confusion_matrix(voter[image.name].numpy(), vote, num_classes=num_classes)
            for voter in voters.values()
        ]
        votes = np.bincount(
            support[image.name].numpy().ravel(), minlength=len(voters) + 1
        )
        return np.stack(confusions), votes

    confusion = np.zeros((len(voters), num_classes, num_classes + 1), np.int64)
    histogram = np.zeros(len(voters) + 1, np.int64)
    unanimity = []
    counted = map_images(count, images, runtime=runtime, title="agreement")
    for image, (matrices, votes) in zip(images, counted, strict=True):
        confusion += matrices
        histogram += votes
        unanimity.append((votes[-1] / votes.sum(), image.name))
    at_least = histogram[::-1].cumsum()[::-1] / histogram.sum()
    least = sorted(unanimity)[:12]
    write_json(
        folder / PROXIES,
        {
            "agreement": {
                name: round(100 * float(scores_of(each).miou), 4)
                for name, each in zip(voters, confusion, strict=True)
            },
            "coverage": {
                str(t): round(100 * float(at_least[t]), 4)
                for t in range(1, len(voters) + 1)
            },
            "least_agreement": [
                {"image": name, "unanimous": round(100 * float(share), 2)}
                for share, name in least
            ],
        },
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
    it covers at least 0.5 % of the image.
    """

    def count(image: ImageRecord) -> tuple[int, int, int]:
        pixels = np.bincount(labels[image.name].numpy().ravel(), minlength=256)
        pixels[[0, IGNORE]] = 0
        found = set(np.flatnonzero(pixels >= 0.005 * image.width * image.height))
        return len(found & set(image.tags)), len(image.tags), len(found)

    total = np.zeros(3, np.int64)
    for each in map_images(count, images, runtime=runtime, title="tag recall"):
        total += each
    both, tags, found = total.tolist()
    write_json(
        folder / PROXIES,
        {
            "tag_recall": round(100 * both / max(1, tags), 4),
            "tag_precision": round(100 * both / max(1, found), 4),
        },
    )
