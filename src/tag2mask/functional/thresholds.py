"""Background thresholds of activation maps: all scored in one pass, or one found."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from tag2mask.functional.metrics import (
    check_ids,
    flat_pair,
    mean_of_present,
    share,
)
from tag2mask.functional.shapes import BACKGROUND
from tag2mask.kernels.confusion import count_thresholds


class ThresholdScore(NamedTuple):
    """A threshold of the grid and the mIoU there."""

    threshold: float
    miou: float


class ThresholdCurve:
    """Count pixels so that the labelling at every threshold can be scored afterwards.

    A pixel is an object where its best score lies **strictly above** the threshold,
    else background: argmax with a constant background score, ties to background. The
    thresholds are i / num_bins, i = 0 ... num_bins. The comparison is exact at each:
    a score of 0.5 is background at the threshold 0.5; at 0 all but a score of 0 is
    object, at 1 nothing is.

    Memory is about 8 * num_bins * num_classes^2 bytes: 0.9 MB for PASCAL VOC, 13 MB for
    COCO, whatever the number of images.

    Args:
        num_classes: Number of classes k, background included.
        num_bins: Steps of the grid from 0 to 1. 256 holds 0.1484 but not 0.15, which
            200 holds.

    Raises:
        ValueError: If there is no step.
    """

    def __init__(self, num_classes: int, num_bins: int = 256) -> None:
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}")
        self.thresholds: Float64[np.ndarray, " n"] = (
            np.arange(num_bins + 1, dtype=np.float64) / num_bins
        )
        # how many thresholds the score exceeds, best class, truth
        self._counts = np.zeros((num_bins + 1, num_classes, num_classes), np.int64)

    def add(
        self,
        best_score: Float32[np.ndarray, "h w"],
        best_class: UInt8[np.ndarray, "h w"],
        truth: UInt8[np.ndarray, "truth_h truth_w"],
    ) -> None:
        """Add one image.

        Args:
            best_score: Highest object score of each pixel, in [0, 1].
            best_class: The object class it belongs to. Class 0, for an image without
                any object tag, is background at every threshold.
            truth: True class ids, of the same shape; 255 is not scored.

        Raises:
            ValueError: If shapes differ, an id is not a class, or a score lies
                outside [0, 1] or is nan; then nothing is counted.
            TypeError: If ids are not 8-bit integers.
        """
        num_classes = self._counts.shape[1]
        classes, flat_truth = flat_pair(best_class, truth, num_classes=num_classes)
        check_ids(flat_truth, num_classes=num_classes, name="truth")
        highest = int(classes.max(initial=0))
        if highest >= num_classes:
            raise ValueError(
                f"best_class holds the id {highest}, but the highest of {num_classes} "
                f"classes is {num_classes - 1}"
            )
        if best_score.shape != best_class.shape:
            raise ValueError(
                f"best_score has shape {best_score.shape} but best_class has "
                f"{best_class.shape}"
            )
        scores = _flat_scores(best_score)
        count_thresholds(scores, classes, flat_truth, self._counts)

    def confusion(self, threshold_bin: int) -> Int64[np.ndarray, "k k+1"]:
        """Return the confusion matrix at one threshold, as ``confusion_matrix`` does.

        Args:
            threshold_bin: Index i of the threshold i / num_bins.

        Raises:
            ValueError: If there is no such threshold.
        """
        if not 0 <= threshold_bin < len(self.thresholds):
            raise ValueError(
                f"threshold_bin must lie between 0 and {len(self.thresholds) - 1}, "
                f"got {threshold_bin}"
            )
        objects = self._counts[threshold_bin + 1 :].sum(axis=0)
        background = self._counts[: threshold_bin + 1].sum(axis=(0, 1))
        num_classes = len(background)
        table = np.zeros((num_classes, num_classes + 1), np.int64)
        table[:, :num_classes] = objects.T
        table[:, 0] += background
        return table

    def truth_pixels(self) -> Int64[np.ndarray, " k"]:
        """Count the scored pixels of each class in the truth."""
        return np.asarray(self._counts.sum(axis=(0, 1)))

    def iou(self) -> Float64[np.ndarray, "n k"]:
        """Score each class at each of the num_bins + 1 thresholds.

        Nan where a class is neither in truth nor labels.
        """
        truth = self.truth_pixels()
        hits = _above(self._counts.diagonal(axis1=1, axis2=2))
        labelled = _above(self._counts.sum(axis=2))
        # what is not labelled object is labelled background
        hits[:, 0] += truth[0] - _above(self._counts[:, :, 0].sum(axis=1))
        labelled[:, 0] = truth.sum() - labelled[:, 1:].sum(axis=1)
        return share(hits, labelled + truth - hits)

    def miou(self) -> Float64[np.ndarray, " n"]:
        """Score the labelling at each of the num_bins + 1 thresholds.

        The mean at a threshold is over the classes in truth or labels there; all are
        nan before a scored pixel was added.
        """
        return mean_of_present(self.iou())

    def best(self) -> ThresholdScore:
        """Return the highest mIoU of the grid; of equal ones the lowest threshold.

        It was chosen with the ground truth: publish it as an oracle.

        Raises:
            ValueError: If no scored pixel was added.
        """
        miou = self.miou()
        if np.isnan(miou).any():
            raise ValueError("no scored pixel was added, so no threshold is best")
        return self._score(miou, int(miou.argmax()))

    def at(self, threshold: float) -> ThresholdScore:
        """Return the grid's threshold nearest to the given one, and the mIoU there.

        Of two equally near it is the one with the even index.

        Raises:
            ValueError: If the threshold lies outside [0, 1].
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        nearest = round(threshold * (len(self.thresholds) - 1))
        return self._score(self.miou(), nearest)

    def _score(self, miou: Float64[np.ndarray, " n"], index: int) -> ThresholdScore:
        return ThresholdScore(float(self.thresholds[index]), float(miou[index]))


def otsu_threshold(histogram: Int64[np.ndarray, " n"]) -> float:
    """Return the threshold that splits scores into the two most distinct groups.

    The one with the greatest variance between the groups' means, weighted by their
    sizes (Otsu, IEEE Trans. SMC 1979, eq. 18). It needs no label.

    Args:
        histogram: Counts of scores in n equal bins over [0, 1].

    Returns:
        A bin's upper edge, the lowest of several equally good ones, strictly between 0
        and 1; 0.5 if all scores share a bin.

    Raises:
        ValueError: If there are fewer than two bins.
    """
    if len(histogram) < 2:
        raise ValueError(f"expected at least two bins, got {len(histogram)}")
    centres = (np.arange(len(histogram)) + 0.5) / len(histogram)
    below = np.cumsum(histogram)[:-1]
    above = histogram.sum() - below
    moment = np.cumsum(histogram * centres)
    mean_below = moment[:-1] / np.maximum(below, 1)
    mean_above = (moment[-1] - moment[:-1]) / np.maximum(above, 1)
    variance = below * above * (mean_above - mean_below) ** 2
    if not variance.any():
        return 0.5
    return float((variance.argmax() + 1) / len(histogram))


def oracle_threshold(curve: ThresholdCurve) -> float | None:
    """Return the threshold with the highest mIoU, chosen with the ground truth.

    Strictly between 0 and 1, the lowest of several equally good ones; None if no pixel
    was scored.
    """
    inside = curve.miou()[1:-1]
    if np.isnan(inside).any():
        return None
    return float(curve.thresholds[1 + int(inside.argmax())])


def agreement_threshold(curve: ThresholdCurve) -> float | None:
    """Return the threshold at which objects agree best with what others say [ours].

    The mean IoU of the object classes that the others name. Background has no say: a
    threshold that calls all background would agree best on most pixels.

    Args:
        curve: Pixels counted with the labels of others, such as a vote, as the truth;
            255 where they have none.

    Returns:
        A threshold of the grid strictly between 0 and 1, the lowest of several equally
        good ones. None if the others name no object: then nothing can be learnt of
        them.
    """
    is_named = curve.truth_pixels() > 0
    is_named[BACKGROUND] = False
    if not is_named.any():
        return None
    agreement = curve.iou()[1:-1, is_named].mean(axis=1)
    return float(curve.thresholds[1 + int(agreement.argmax())])


def _flat_scores(scores: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, " p"]:
    """Lay scores out for the kernel; refuse those outside [0, 1], and nan."""
    flat = np.require(scores, np.float32, ["C", "W"]).ravel()
    low, high = flat.min(initial=0), flat.max(initial=0)
    if not (low >= 0 and high <= 1):  # false for nan too
        raise ValueError(
            f"scores must lie in [0, 1], got {low} to {high}; "
            "divide each map by its maximum first"
        )
    return flat


def _above(counts: Int64[np.ndarray, "n *rest"]) -> Int64[np.ndarray, "n *rest"]:
    """Sum, for each threshold, the counts of scores above it: the later entries."""
    up_to_here = np.cumsum(counts, axis=0)
    return np.asarray(counts.sum(axis=0) - up_to_here)
