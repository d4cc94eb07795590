"""Stage evaluate, votes: what each threshold calls clean, and whether it is right."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.metrics import share
from tag2mask.functional.shapes import BACKGROUND, IGNORE
from tag2mask.functional.statistics import count_marks
from tag2mask.stages.evaluate import (
    Truth,
    digest_of_mask,
    name_masks,
    percent,
    read_both,
)

MARKS = ("clean_right", "noisy_right", "noisy_wrong", "clean_wrong")
"""The paper's cases (a) to (d), in the order of ``statistics.count_marks``."""
_SHARES = ("coverage", "purity", "object_coverage", *MARKS)


def score_support(
    voted: Path,
    truth: Truth,
    *,
    num_voters: int,
    runtime: Runtime,
) -> dict[str, Any]:
    """Return what each threshold t calls clean.

    ``coverage`` is the clean share of scored pixels, ``object_coverage`` that of true
    objects alone, ``purity`` the share of clean pixels that are right; None where
    there is no such pixel. ``MARKS`` are shares of the scored pixels and sum to 100
    (multi-seed, tables 10 and 11). ``by_support`` tells of the pixels with exactly so
    many votes: their share of the scored pixels, and the ``purity``, the share of them
    that is right; it shows how far votes can be trusted.
    """
    labels, support = LabelFolder(voted / "labels"), LabelFolder(voted / "support")

    def count(image: ImageRecord) -> tuple[Int64[np.ndarray, "t 6"], bytes]:
        found, mask = read_both(labels, truth, image)
        votes = support[image.name].numpy()
        marks = count_marks(found, votes, mask, num_voters=num_voters)
        objects = votes[(mask != IGNORE) & (mask != BACKGROUND)]
        counts = np.bincount(objects, minlength=num_voters + 1)
        clean_objects = counts[::-1].cumsum()[::-1][1:, None]
        all_objects = np.full_like(clean_objects, len(objects))
        return np.hstack([marks, clean_objects, all_objects]), digest_of_mask(mask)

    total, digests = np.zeros((num_voters, 6), np.int64), []
    counted = map_images(count, truth.images, runtime=runtime, title="evaluate vote")
    for counts, digest in counted:
        total += counts
        digests.append(digest)
    rows = [
        {"min_support": threshold} | _describe(counts)
        for threshold, counts in enumerate(total, 1)
    ]
    return {
        "by_min_support": rows,
        "by_support": _describe_exact(total),
        "num_images": len(truth.images),
        "masks": name_masks(truth, digests),
    }


def _describe(counts: Int64[np.ndarray, "6"]) -> dict[str, float | None]:
    right, *_, wrong, clean_objects, objects = counts
    scored, clean = counts[:4].sum(), right + wrong
    parts = np.array([clean, right, clean_objects, *counts[:4]])
    wholes = np.array([scored, clean, objects, *[scored] * 4])
    return dict(zip(_SHARES, map(percent, share(parts, wholes)), strict=True))


def _describe_exact(total: Int64[np.ndarray, "t 6"]) -> list[dict[str, Any]]:
    clean = np.stack([total[:, 0] + total[:, 3], total[:, 0]])
    num_pixels, num_right = -np.diff(clean, append=0)  # without those of more votes
    shares = share(num_pixels, total[:, :4].sum(axis=1))
    purities = share(num_right, num_pixels)
    return [
        {"support": votes, "share": percent(each), "purity": percent(right)}
        for votes, (each, right) in enumerate(zip(shares, purities, strict=True), 1)
    ]
