"""Compiled counting behind the scores: confusion, CAM thresholds, boundary bands.

All arrays are contiguous and writable: numba compiles another version for each
layout it meets. Callers check shapes, dtypes and ids; the kernels trust them.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, boundscheck=False)
def count_pairs(
    truth: np.ndarray,
    labels: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Add each pixel's (truth, label) pair to one of several histograms.

    Label maps are piecewise constant, so eight pixels are compared as one integer
    first; about nine in ten groups repeat the last uniform one and cost a register.

    Args:
        truth: UInt8 "p".
        labels: UInt8 "p".
        row: UInt32 "256", where the row of a truth id begins in a histogram.
        column: UInt32 "256", the column of a label id.
        counts: Int64 "4 bins", added to; their sum is the result. Several are filled
            in turn, so that equal neighbours do not wait for each other.
    """
    num_groups = truth.size // 8
    truth_groups = truth[: num_groups * 8].view(np.uint64)
    label_groups = labels[: num_groups * 8].view(np.uint64)
    low_byte = np.uint64(255)
    every_byte = np.uint64(0x0101010101010101)
    next_byte = np.uint64(8)
    run_truth = np.uint64(0)
    run_label = np.uint64(0)
    run = 0
    for group in range(num_groups):
        t = truth_groups[group]
        g = label_groups[group]
        if t == run_truth and g == run_label:
            run += 8
        elif t == (t & low_byte) * every_byte and g == (g & low_byte) * every_byte:
            counts[0, row[run_truth & low_byte] + column[run_label & low_byte]] += run
            run_truth = t
            run_label = g
            run = 8
        else:
            for _ in range(2):
                counts[0, row[t & low_byte] + column[g & low_byte]] += 1
                t >>= next_byte
                g >>= next_byte
                counts[1, row[t & low_byte] + column[g & low_byte]] += 1
                t >>= next_byte
                g >>= next_byte
                counts[2, row[t & low_byte] + column[g & low_byte]] += 1
                t >>= next_byte
                g >>= next_byte
                counts[3, row[t & low_byte] + column[g & low_byte]] += 1
                t >>= next_byte
                g >>= next_byte
    counts[0, row[run_truth & low_byte] + column[run_label & low_byte]] += run
    for i in range(num_groups * 8, truth.size):
        counts[0, row[truth[i]] + column[labels[i]]] += 1


@njit(cache=True, nogil=True, boundscheck=False)
def mark_ids(ids: np.ndarray, present: np.ndarray) -> None:
    """Set ``present[id]`` to 1 for each id in the map.

    Args:
        ids: UInt8 "p".
        present: UInt8 "256".
    """
    num_groups = ids.size // 8
    groups = ids[: num_groups * 8].view(np.uint64)
    for group in range(num_groups):
        # a group equal to the one before holds nothing new
        if group == 0 or groups[group] != groups[group - 1]:
            for i in range(group * 8, group * 8 + 8):
                present[ids[i]] = 1
    for i in range(num_groups * 8, ids.size):
        present[ids[i]] = 1


@njit(cache=True, nogil=True, boundscheck=False)
def count_thresholds(
    best_score: np.ndarray,
    best_class: np.ndarray,
    truth: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Count pixels by (number of thresholds exceeded, best class, truth).

    Args:
        best_score: Float32 "p" in [0, 1].
        best_class: UInt8 "p" below k.
        truth: UInt8 "p"; ids of k and above are left out.
        counts: Int64 "n+1 k k", added to. The first axis is how many thresholds
            i / n the score lies strictly above: 0 for a score of 0, n for a score of 1.
    """
    num_classes = counts.shape[2]
    num_steps = np.float64(counts.shape[0] - 1)
    for i in range(truth.size):
        if truth[i] >= num_classes:
            continue
        # exact: 24 bits of a float32 by less than 29 of n fit the 53 of a float64
        exceeded = np.int64(np.ceil(np.float64(best_score[i]) * num_steps))
        counts[exceeded, best_class[i], truth[i]] += 1


@njit(cache=True, nogil=True, boundscheck=False)
def erase_interior(labels: np.ndarray, radius: int, band: np.ndarray) -> None:
    """Set to 255 the pixels whose window lies in the image and holds one label only.

    They are the erosion of every class's mask at once, in time that does not depend on
    the radius: runs of equal labels along rows, then runs of such windows down columns.

    Args:
        labels: UInt8 "h w".
        radius: The window is (2 * radius + 1) squared.
        band: UInt8 "h w", a copy of the labels, changed in place.
    """
    height, width = labels.shape
    side = 2 * radius + 1
    uniform = np.empty(width, np.uint8)
    depth = np.zeros(width, np.int32)
    for y in range(height):
        uniform[:] = 0
        run = 0
        for x in range(width):
            run = run + 1 if x > 0 and labels[y, x] == labels[y, x - 1] else 1
            if run >= side:
                uniform[x - radius] = 1
        above = max(y - 1, 0)
        for x in range(width):
            carried = depth[x] if labels[y, x] == labels[above, x] else 0
            depth[x] = carried + 1 if uniform[x] else 0
        if y >= side - 1:
            for x in range(width):
                kept = band[y - radius, x]
                band[y - radius, x] = 255 if depth[x] >= side else kept
