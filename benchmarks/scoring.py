"""Time the scoring of a PASCAL VOC sized data set: python benchmarks/scoring.py.

Claim: confusion matrix and per-class scores of 1,449 masks of 500x375 in a fraction
of a second, boundary IoU in a few seconds, on one thread.

Masks are synthetic blobs with an ignored contour and 2 % of labels wrong at random,
the hard case for both; reading files is not timed. A number of distinct pairs is
scored in turn, so that memory stays small; they are larger than a core's cache.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from revision import commit
from tag2mask.functional.boundary import boundary_counts, boundary_iou
from tag2mask.functional.metrics import (
    Bootstrap,
    confusion_matrix,
    mean_of_present,
    scores_of,
)
from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.thresholds import ThresholdCurve

NUM_IMAGES = 1449
NUM_DISTINCT = 69  # divides 1,449
NUM_CLASSES = 21
HEIGHT, WIDTH = 375, 500
REPEATS = 3

Pair = tuple[np.ndarray, np.ndarray]


def blobs(generator: np.random.Generator) -> Pair:
    """Draw labels and truth: up to four discs with an ignored rim, and label errors."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(generator.integers(1, 5)):
        class_id = generator.integers(1, NUM_CLASSES)
        centre_y, centre_x = generator.uniform((0, 0), (HEIGHT, WIDTH))
        radius = generator.uniform(30, 130)
        distance = np.hypot(y - centre_y, x - centre_x)
        truth[distance < radius + 2.5] = IGNORE
        truth[distance < radius - 2.5] = class_id
        shift_y, shift_x = generator.normal(scale=6.0, size=2)
        shifted = np.hypot(y - centre_y - shift_y, x - centre_x - shift_x)
        labels[shifted < radius] = class_id
    is_noise = generator.random(labels.shape) < 0.02
    labels[is_noise] = generator.integers(0, NUM_CLASSES, is_noise.sum())
    return labels, truth


def score_confusion(pairs: list[Pair]) -> float:
    """Count all masks and score every class."""
    total = np.zeros((NUM_CLASSES, NUM_CLASSES + 1), np.int64)
    for labels, truth in pairs:
        total += confusion_matrix(labels, truth, num_classes=NUM_CLASSES)
    return scores_of(total).miou


def score_boundary(pairs: list[Pair]) -> float:
    """Count all masks near their contours and score every class."""
    total = np.zeros((NUM_CLASSES, 3), np.int64)
    for labels, truth in pairs:
        total += boundary_counts(labels, truth, num_classes=NUM_CLASSES)
    return float(mean_of_present(boundary_iou(total)))


def score_bootstrap(tables: list[np.ndarray]) -> float:
    """Resample the images, whose confusion matrices are known already."""
    bootstrap = Bootstrap(NUM_CLASSES)
    for table in tables:
        bootstrap.add(table)
    return bootstrap.interval()[0]


def score_thresholds(pairs: list[Pair], best_score: np.ndarray) -> float:
    """Score all masks at 257 thresholds, with the labels as the best classes."""
    curve = ThresholdCurve(NUM_CLASSES)
    for labels, truth in pairs:
        curve.add(best_score, labels, truth)
    return curve.best().miou


def timed(task: Callable[[], float]) -> dict[str, float]:
    """Run once to compile and warm up, then report the median of the repeats."""
    score = task()
    wall, cpu = [], []
    for _ in range(REPEATS):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        task()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    low, median, high = statistics.quantiles(wall, n=4)
    return {
        "seconds_median": round(median, 4),
        "seconds_iqr": round(high - low, 4),
        "cpu_seconds_median": round(statistics.median(cpu), 4),
        "milliseconds_per_image": round(1000 * median / NUM_IMAGES, 4),
        "score": round(score, 6),
    }


def main() -> None:
    """Print the timings as JSON."""
    generator = np.random.default_rng(0)
    distinct = [blobs(generator) for _ in range(NUM_DISTINCT)]
    pairs = distinct * (NUM_IMAGES // NUM_DISTINCT)
    best_score = generator.random((HEIGHT, WIDTH), np.float32)
    tables = [confusion_matrix(*pair, num_classes=NUM_CLASSES) for pair in pairs]
    tasks = {
        "confusion": partial(score_confusion, pairs),
        "boundary": partial(score_boundary, pairs),
        "bootstrap": partial(score_bootstrap, tables),
        "thresholds": partial(score_thresholds, pairs, best_score),
    }
    result = {
        "benchmark": "scoring",
        "commit": commit(),
        "device": f"{platform.machine()} CPU, one thread",
        "images": NUM_IMAGES,
        "distinct_images": NUM_DISTINCT,
        "height": HEIGHT,
        "width": WIDTH,
        "classes": NUM_CLASSES,
        "repeats": REPEATS,
        "tasks": {name: timed(task) for name, task in tasks.items()},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
