"""Stage evaluate: score label maps and activation maps against ground-truth masks.

Every score names its masks by a digest of their names and pixels, ``masks``: scores of
one protocol and one digest were made against the same truth, whichever archive or
program the masks came from.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tag2mask import config
from tag2mask.artifacts.cams import CamFolder, Cams
from tag2mask.artifacts.labels import LabelFolder, read_index_png
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.data.masks import MaskFolder
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.functional.boundary import boundary_counts, boundary_iou
from tag2mask.functional.metrics import (
    Bootstrap,
    Scores,
    confusion_matrix,
    mean_of_present,
    scores_of,
)
from tag2mask.functional.shapes import IGNORE
from tag2mask.stages.samples import pick_samples
from tag2mask.stages.thresholds import NUM_THRESHOLDS, count_thresholds

VERSION = 5
SCORE = "score.json"
_DIGITS = 4
_WORST = 12
_MOST_NAMES = 3


class Truth(NamedTuple):
    """The images that are scored, and what is known of them.

    Attributes:
        images: Those of a split that have a mask.
        masks: Their ground truth.
        class_names: By class id, background first.
    """

    images: Sequence[ImageRecord]
    masks: MaskFolder
    class_names: Sequence[str]

    def read(self, image: ImageRecord) -> np.ndarray:
        """Return the mask of an image as ``UInt8 "h w"``."""
        size = image.width, image.height
        return self.masks.read(image.name, num_classes=len(self.class_names), size=size)


def name_masks(truth: Truth, digests: Sequence[bytes]) -> str:
    """Return 12 hexadecimal digits that name the masks of all images.

    Args:
        truth: The images.
        digests: What ``digest_of_mask`` gives for each, in their order.
    """
    seen = hashlib.sha256()
    for image, digest in zip(truth.images, digests, strict=True):
        seen.update(image.name.encode() + b"\0" + digest)
    return seen.hexdigest()[:12]


def digest_of_mask(mask: np.ndarray) -> bytes:
    """Digest a mask's size and pixels."""
    return hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).digest()


def open_folder(
    found: LabelFolder | CamFolder,
    masks: Path,
    names: Sequence[str] | None,
    class_names: Sequence[str] | None,
    runtime: Runtime,
) -> Truth:
    """Return the truth of a folder of label or score maps that no run knows of.

    Args:
        found: What will be scored.
        masks: Folder of ground truth.
        names: Images to score; None: all that the folder holds.
        class_names: None: as many classes as the highest id needs, unnamed.
        runtime: How many threads.

    Raises:
        DatasetError: If there is nothing to score, or an image lacks one of the two.
    """
    folder = MaskFolder(masks)
    chosen = sorted(set(found if names is None else names))  # as an index sorts
    _refuse_missing(found, folder, chosen)

    def look(name: str) -> tuple[ImageRecord, int]:
        mask, maps = read_index_png(folder.path(name)), found[name]
        ids = np.array(maps.class_ids) if isinstance(maps, Cams) else maps.numpy()
        highest = max(int(each[each != IGNORE].max(initial=0)) for each in (ids, mask))
        return ImageRecord(name, "", mask.shape[1], mask.shape[0], (), ""), highest

    looked = list(map_images(look, chosen, runtime=runtime, title="read"))
    num_classes = 1 + max(highest for _, highest in looked)
    names_found = class_names or [str(number) for number in range(num_classes)]
    return Truth([image for image, _ in looked], folder, names_found)


def _refuse_missing(
    found: LabelFolder | CamFolder, masks: MaskFolder, names: Sequence[str]
) -> None:
    if not names:
        kind = "label map" if isinstance(found, LabelFolder) else "score map (.npz)"
        raise DatasetError(f"there is nothing to score: no {kind} in {found.folder}")
    lacking = [found.path(name) for name in names if name not in found]
    lacking += [masks.path(name) for name in names if name not in masks]
    if lacking:
        first = ", ".join(map(str, lacking[:_MOST_NAMES]))
        more = f" and {len(lacking) - _MOST_NAMES} more" * (len(lacking) > _MOST_NAMES)
        raise DatasetError(
            f"{len(lacking)} files are missing: {first}{more}; to score fewer images, "
            f"list their names in a file (--names)"
        )


def score_labels(
    labels: LabelFolder,
    truth: Truth,
    settings: config.Evaluate,
    *,
    runtime: Runtime,
) -> dict[str, Any]:
    """Return the scores of one label map per image, in percent.

    One confusion matrix over all images; the worst images are named, and for each
    class the worst and the best of those whose mask has it.
    """
    num_classes = len(truth.class_names)

    def count(image: ImageRecord) -> tuple[np.ndarray, np.ndarray, bytes]:
        found, mask = read_both(labels, truth, image)
        confusion = _confusion(found, mask, num_classes, labels.path(image.name))
        boundary = boundary_counts(
            found, mask, num_classes=num_classes, ratio=settings.boundary_ratio
        )
        return confusion, boundary, digest_of_mask(mask)

    total = np.zeros((num_classes, num_classes + 1), np.int64)
    edges = np.zeros((num_classes, 3), np.int64)
    bootstrap = Bootstrap(num_classes, max(1, settings.bootstrap))
    by_image, digests, class_ious = [], [], {}
    counted = map_images(count, truth.images, runtime=runtime, title="evaluate")
    for image, (confusion, boundary, digest) in zip(truth.images, counted, strict=True):
        digests.append(digest)
        total += confusion
        edges += boundary
        bootstrap.add(confusion)
        scores = scores_of(confusion)
        by_image.append((percent(scores.miou), image.name))
        # the recall is undefined where the mask lacks a class
        is_true = ~np.isnan(scores.recall)
        class_ious[image.name] = np.where(is_true, scores.iou, np.nan)
    record = describe_scores(scores_of(total), truth.class_names)
    record["boundary_iou"] = percent(mean_of_present(boundary_iou(edges)))
    if settings.bootstrap and total.any():
        record["interval"] = [percent(value) for value in bootstrap.interval()]
    worst = sorted(entry for entry in by_image if entry[0] is not None)[:_WORST]
    return record | {
        "worst_images": [{"image": name, "miou": miou} for miou, name in worst],
        "samples": pick_samples(class_ious, measure="iou"),
        "num_images": len(truth.images),
        "masks": name_masks(truth, digests),
        "confusion": total.tolist(),
    }


def score_cams(
    cams: Path,
    truth: Truth,
    thresholds: Mapping[str, float],
    *,
    runtime: Runtime,
) -> dict[str, Any]:
    """Return the scores of activation maps at given thresholds and at the best one.

    A constant background score, argmax, all thresholds in one pass. The best, called
    ``oracle``, was chosen with the masks; 0 if no pixel is scored.
    """
    digests: dict[str, bytes] = {}

    def read(image: ImageRecord) -> np.ndarray:
        mask = truth.read(image)
        digests[image.name] = digest_of_mask(mask)
        return mask

    curve = count_thresholds(
        CamFolder(cams),
        truth.images,
        read,
        num_classes=len(truth.class_names),
        runtime=runtime,
    )
    record: dict[str, Any] = {}
    is_scored = not np.isnan(curve.miou()).any()
    oracle = curve.best().threshold if is_scored else 0.0
    for name, threshold in {**thresholds, "oracle": oracle}.items():
        place = round(threshold * NUM_THRESHOLDS)
        scores = scores_of(curve.confusion(place))
        record[name] = describe_scores(scores, truth.class_names)
        record[name]["threshold"] = place / NUM_THRESHOLDS
    record["masks"] = name_masks(truth, [digests[i.name] for i in truth.images])
    record["num_images"] = len(truth.images)
    record["miou_by_threshold"] = [percent(value) for value in curve.miou()]
    return record


def list_thresholds() -> list[float]:
    """Return the thresholds of ``miou_by_threshold``, ascending from 0 to 1."""
    return [place / NUM_THRESHOLDS for place in range(NUM_THRESHOLDS + 1)]


def describe_scores(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Return scores in percent, by class name; None where one is undefined."""
    by_name: Mapping[str, np.ndarray] = {
        "per_class": scores.iou,
        "precision": scores.precision,
        "recall": scores.recall,
        "fpr": scores.fpr,
        "fnr": scores.fnr,
    }
    record: dict[str, Any] = {"miou": percent(scores.miou), "unit": "%"}
    for name, values in by_name.items():
        record[name] = {
            each: percent(value)
            for each, value in zip(class_names, values, strict=True)
        }
    for name in ("pixel_accuracy", "coverage", "purity"):
        record[name] = percent(getattr(scores, name))
    return record


def read_both(
    labels: LabelFolder, truth: Truth, image: ImageRecord
) -> tuple[np.ndarray, np.ndarray]:
    """Return the label map of an image and its mask, of one size."""
    path = labels.path(image.name)
    if image.name not in labels:
        raise DatasetError(f"{path}: there is no such label map; make it again")
    found, mask = labels[image.name].numpy(), truth.read(image)
    if found.shape != mask.shape:
        raise DatasetError(
            f"{path} is {found.shape[1]}x{found.shape[0]}, its mask "
            f"{mask.shape[1]}x{mask.shape[0]}; they must be of one size"
        )
    return found, mask


def _confusion(
    found: np.ndarray, mask: np.ndarray, num_classes: int, path: Path
) -> np.ndarray:
    try:
        return confusion_matrix(found, mask, num_classes=num_classes)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def percent(share: float | np.floating[Any] | np.ndarray) -> float | None:
    """Round a share to percent; a nan, an undefined score, becomes None."""
    value = float(share)
    return None if np.isnan(value) else round(100 * value, _DIGITS)
