"""Boundary IoU: IoU counted near contours only (Cheng et al., CVPR 2021).

Mask IoU hardly sees the contour of a large object; near contours it is all that
counts.
"""

import math

import numpy as np
from jaxtyping import Float64, Int, Int64, UInt8

from tag2mask.functional.metrics import check_ids, confusion_matrix, flat_pair, share
from tag2mask.functional.shapes import IGNORE
from tag2mask.kernels.confusion import erase_interior


def boundary_counts(
    labels: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "truth_h truth_w"],
    *,
    num_classes: int,
    ratio: float = 0.02,
) -> Int64[np.ndarray, "k 3"]:
    """Count each class's pixels near its own contour, in labels, truth and both.

    A class's band is its mask without the mask's erosion by a 3x3 square repeated
    ``boundary_distance`` times. Beyond the image lies no class, so that the image's
    edge is contour too (both as in the authors' code). Pixels whose truth is 255
    belong to no class, in the labels as well: labels that agree with the truth
    wherever it scores get an IoU of exactly 1.

    Args:
        labels: Predicted class ids; 255 is a pixel left unlabelled.
        truth: True class ids, of the same shape; 255 is not scored.
        num_classes: Number of classes k, background included.
        ratio: Width of the band as a share of the image's diagonal.

    Returns:
        Pixels per class in both bands, in the labels' band, in the truth's band. They
        add up over images.

    Raises:
        ValueError: If the shapes differ, an id is neither a class nor 255, or the
            ratio is not positive.
        TypeError: If a map is not of 8-bit integers.
    """
    flat_labels, flat_truth = flat_pair(labels, truth, num_classes=num_classes)
    check_ids(flat_labels, num_classes=num_classes, name="labels")
    check_ids(flat_truth, num_classes=num_classes, name="truth")
    radius = boundary_distance(*labels.shape, ratio=ratio)
    scored_labels = np.where(flat_truth == IGNORE, flat_truth, flat_labels)
    truth_band = _band(flat_truth.reshape(labels.shape), radius)
    label_band = _band(scored_labels.reshape(labels.shape), radius)
    by_truth = confusion_matrix(label_band, truth_band, num_classes=num_classes)
    by_label = confusion_matrix(truth_band, label_band, num_classes=num_classes)
    counts = [by_truth.diagonal(), by_label.sum(axis=1), by_truth.sum(axis=1)]
    return np.stack(counts, axis=1)


def _band(ids: UInt8[np.ndarray, "h w"], radius: int) -> UInt8[np.ndarray, "h w"]:
    """Keep the ids that their class's mask loses when it is eroded; 255 elsewhere."""
    band = ids.copy()
    erase_interior(ids, radius, band)
    return band


def boundary_distance(height: int, width: int, *, ratio: float = 0.02) -> int:
    """Width of the band in pixels: a share of the diagonal, but at least 1.

    Rounded to the nearest integer, halves to the even one: 12 for 375x500.

    Raises:
        ValueError: If the ratio is not positive.
    """
    if not ratio > 0:
        raise ValueError(f"ratio must be positive, got {ratio}")
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_iou(counts: Int[np.ndarray, "k 3"]) -> Float64[np.ndarray, " k"]:
    """Boundary IoU per class from counts summed over images.

    Nan for a class without a band in truth and labels, that is, absent from both;
    ``metrics.mean_of_present`` averages the others.
    """
    both, in_labels, in_truth = counts.T
    return share(both, in_labels + in_truth - both)
