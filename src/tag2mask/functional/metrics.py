"""Scores of label maps over a data set, from counts that add up over images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, UInt8

from tag2mask.functional.shapes import IGNORE, MAX_CLASSES
from tag2mask.kernels.confusion import count_pairs, mark_ids


def confusion_matrix(
    labels: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "truth_h truth_w"],
    *,
    num_classes: int,
) -> Int64[np.ndarray, "k k+1"]:
    """Count the pixels of each truth class by the label they were given.

    The matrices of several images add up to the matrix of all of them.

    Args:
        labels: Predicted class ids; 255 is a pixel left unlabelled.
        truth: True class ids, of the same shape; 255 is not scored.
        num_classes: Number of classes k, background included.

    Returns:
        Pixel counts with truth in rows and labels in columns. The last column holds
        scored pixels without a label: wrong for their own class, and a false positive
        of no class.

    Raises:
        ValueError: If the shapes differ, or an id is neither a class nor 255.
        TypeError: If a map is not of 8-bit integers.
    """
    flat_labels, flat_truth = flat_pair(labels, truth, num_classes=num_classes)
    side = num_classes + 2  # the classes, the unlabelled, and ids that are neither
    code = np.full(256, num_classes + 1, np.uint32)
    code[:num_classes] = np.arange(num_classes)
    code[IGNORE] = num_classes
    counts = np.zeros((4, side * side), np.int64)
    count_pairs(flat_truth, flat_labels, code * np.uint32(side), code, counts)
    table: Int64[np.ndarray, "side side"] = counts.sum(axis=0).reshape(side, side)
    if table[-1].any() or table[:, -1].any():
        check_ids(flat_truth, num_classes=num_classes, name="truth")
        check_ids(flat_labels, num_classes=num_classes, name="labels")
    return table[:num_classes, : num_classes + 1].copy()


def flat_pair(
    labels: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "truth_h truth_w"],
    *,
    num_classes: int,
) -> tuple[UInt8[np.ndarray, " p"], UInt8[np.ndarray, " p"]]:
    """Check two label maps and lay them out for the kernels; ids are not looked at.

    Raises:
        ValueError: If the shapes differ or 8-bit ids cannot hold the classes.
        TypeError: If a map is not of 8-bit integers.
    """
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ValueError(
            f"num_classes must lie between 1 and {MAX_CLASSES}, got {num_classes}"
        )
    for name, ids in (("labels", labels), ("truth", truth)):
        if ids.dtype != np.uint8:
            raise TypeError(
                f"{name} must be a uint8 array, got {ids.dtype}; convert with "
                ".astype(np.uint8) after checking that all ids are below 256"
            )
    if labels.shape != truth.shape:
        raise ValueError(
            f"labels have shape {labels.shape} but truth has {truth.shape}; "
            "resize the labels to the truth, nearest neighbour"
        )
    return (
        np.require(labels, requirements=["C", "W"]).ravel(),
        np.require(truth, requirements=["C", "W"]).ravel(),
    )


def check_ids(ids: UInt8[np.ndarray, " p"], *, num_classes: int, name: str) -> None:
    """Refuse ids that are neither a class nor 255.

    Raises:
        ValueError: Naming the lowest such id.
    """
    present = np.zeros(256, np.uint8)
    mark_ids(ids, present)
    strangers = np.flatnonzero(present[num_classes:IGNORE])
    if strangers.size:
        raise ValueError(
            f"{name}: the id {num_classes + strangers[0]} is no class; with "
            f"{num_classes} classes ids are 0 to {num_classes - 1}, and {IGNORE}"
        )


class Scores(NamedTuple):
    """Scores over a data set, as fractions in [0, 1].

    Per class, with tp, fp and fn the pixels over all images:
    ``iou = tp / (tp + fp + fn)``, ``fpr = fp / (tp + fp + fn)`` and
    ``fnr = fn / (tp + fp + fn)``, the field's convention, in which they sum to 1.
    An undefined score is nan: iou, fpr and fnr of a class absent from truth and
    labels, precision of a class never labelled, recall of a class not in the truth.
    """

    miou: float
    """Mean of iou, background included, over the classes where it is defined."""
    iou: Float64[np.ndarray, " k"]
    precision: Float64[np.ndarray, " k"]
    """tp / (tp + fp)."""
    recall: Float64[np.ndarray, " k"]
    """tp / (tp + fn)."""
    fpr: Float64[np.ndarray, " k"]
    fnr: Float64[np.ndarray, " k"]
    pixel_accuracy: float
    """Share of scored pixels with the right label; an unlabelled pixel is wrong."""
    coverage: float
    """Share of scored pixels that are labelled."""
    purity: float
    """Share of scored and labelled pixels with the right label."""


def scores_of(confusion: Int[np.ndarray, "k columns"]) -> Scores:
    """Score a confusion matrix with its column of unlabelled pixels.

    Raises:
        ValueError: If it has not one column more than rows.
    """
    counts = class_counts(confusion)
    hits, labelled, truth = counts
    union = labelled + truth - hits
    iou = share(hits, union)
    num_right, num_labelled, num_scored = counts.sum(axis=1, keepdims=True)
    return Scores(
        miou=float(mean_of_present(iou)),
        iou=iou,
        precision=share(hits, labelled),
        recall=share(hits, truth),
        fpr=share(labelled - hits, union),
        fnr=share(truth - hits, union),
        pixel_accuracy=share(num_right, num_scored).item(),
        coverage=share(num_labelled, num_scored).item(),
        purity=share(num_right, num_labelled).item(),
    )


def class_counts(
    confusion: Int[np.ndarray, "k columns"],
) -> Int64[np.ndarray, "3 k"]:
    """Reduce a confusion matrix to what IoU needs.

    Returns:
        Pixels per class: labelled rightly, labelled so, and truly so.

    Raises:
        ValueError: If it has not one column more than rows.
    """
    num_classes, num_columns = confusion.shape
    if num_columns != num_classes + 1:
        raise ValueError(
            "a confusion matrix has one column more than rows, the last for unlabelled "
            f"pixels; got {num_classes} rows and {num_columns} columns"
        )
    labelled = confusion[:, :num_classes].sum(axis=0)
    return np.stack([confusion.diagonal(), labelled, confusion.sum(axis=1)])


def share(
    part: Int[np.ndarray, "*shape"] | Float64[np.ndarray, "*shape"],
    whole: Int[np.ndarray, "*shape"],
) -> Float64[np.ndarray, "*shape"]:
    """Divide by counts; nothing of nothing is nan, without a warning."""
    shares = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def mean_of_present(
    values: Float64[np.ndarray, "*batch k"],
) -> Float64[np.ndarray, "*batch"]:
    """Average over the classes that are not nan; nan if all are."""
    is_present = ~np.isnan(values)
    total = np.asarray(np.where(is_present, values, 0.0).sum(axis=-1))
    num_present = np.asarray(is_present.sum(axis=-1))
    return share(total, num_present)


class Bootstrap:
    """Confidence of an mIoU: how it varies with the images that happen to be scored.

    A one-pass Poisson bootstrap over images: each of ``samples`` imagined data sets
    holds each image Poisson(1) times, which approaches drawing as many images with
    replacement. Memory does not grow with images: three counts a class and sample.

    Weights depend on the seed and on the order of ``add`` only, so two labellings of
    the same images in the same order are resampled alike, and ``first.miou() -
    second.miou()`` is a paired comparison.

    Args:
        num_classes: Number of classes, background included.
        samples: Imagined data sets; more make the interval's ends steadier.
        random_seed: Seed of the weights.

    Raises:
        ValueError: If there is no sample to draw.
    """

    def __init__(
        self, num_classes: int, samples: int = 200, random_seed: int = 0
    ) -> None:
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self._generator = np.random.default_rng(random_seed)
        self._counts = np.zeros((samples, 3, num_classes), np.int64)

    def add(self, confusion: Int[np.ndarray, "k columns"]) -> None:
        """Add one image by its own confusion matrix.

        Raises:
            ValueError: If the matrix is not of this number of classes.
        """
        counts = class_counts(confusion)
        samples, _, num_classes = self._counts.shape
        if len(confusion) != num_classes:
            raise ValueError(
                f"expected a confusion matrix of {num_classes} classes, "
                f"got {len(confusion)}"
            )
        weights = self._generator.poisson(1.0, size=(samples, 1, 1))
        self._counts += weights * counts

    def miou(self) -> Float64[np.ndarray, " samples"]:
        """Score each imagined data set; nan for one that drew no scored pixel."""
        hits, labelled, truth = np.moveaxis(self._counts, 1, 0)
        return mean_of_present(share(hits, labelled + truth - hits))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the ends between which mIoU lies in ``level`` of the samples.

        The percentile interval, cutting off equal tails and interpolating linearly
        between samples. Samples that drew no image are left out.

        Raises:
            ValueError: If the level is not between 0 and 1, or nothing was added.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        miou = self.miou()
        defined = miou[~np.isnan(miou)]
        if defined.size == 0:
            raise ValueError("no scored pixel was added, so mIoU has no interval")
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def average_precision(
    scores: Float[np.ndarray, " n"], positives: Bool[np.ndarray, " n"]
) -> float:
    """Area under the stepwise precision-recall curve, without interpolation.

    The sum over distinct scores, highest first, of the recall gained times the
    precision there. Equal scores are accepted together, so order never matters. This
    is scikit-learn's definition, except that no positive at all gives nan, not 0.

    Raises:
        ValueError: If a score is nan.
    """
    if np.isnan(scores).any():
        raise ValueError("scores hold nan, which has no rank")
    if not positives.any():
        return float("nan")
    order = np.argsort(-scores)
    ranked = scores[order]
    is_last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    accepted = np.flatnonzero(is_last_of_tie) + 1
    hits = np.cumsum(positives[order])[is_last_of_tie]
    recall_gained = np.diff(hits, prepend=0) / positives.sum()
    return float((recall_gained * hits / accepted).sum())


def mean_average_precision(
    scores: Float[np.ndarray, "n t"], tags: Bool[np.ndarray, "n t"]
) -> float:
    """Mean over tags of the average precision over images; tags never set left out.

    Nan if no tag is set at all.

    Raises:
        ValueError: If a score is nan.
    """
    columns = zip(scores.T, tags.T, strict=True)
    each = np.array([average_precision(*column) for column in columns], np.float64)
    return float(mean_of_present(each))
