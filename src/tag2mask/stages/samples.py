"""Images that show a class at its worst and at its best."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from tag2mask.functional.shapes import BACKGROUND

NUM_SAMPLES = 2
"""Worst images of a class, and as many best ones."""
_DIGITS = 4


def pick_samples(
    values: Mapping[str, Float[np.ndarray, " k"]], *, measure: str
) -> list[dict[str, Any]]:
    """Name for each class the images where a measure of it is lowest and highest.

    An image is named once for a class: where there are too few for both lists, the
    worst one gets the odd image. The background, which is in nearly every image,
    has no entry, and neither has a class without a value.

    Args:
        values: By image name a share in [0, 1] for each class; nan where the image
            does not tell of the class.
        measure: What the values are; the key that each gets, in percent.

    Returns:
        Entries with ``class_id``, ``worst`` (the lowest value first) and ``best``
        (the highest first); of equal values the first name counts as the lower one.
    """
    if not values:
        return []
    names = list(values)
    found = []
    for class_id, column in enumerate(np.stack(list(values.values())).T):
        known = np.flatnonzero(~np.isnan(column))
        if class_id == BACKGROUND or not known.size:
            continue
        ranked = [
            {"image": name, measure: round(100 * value, _DIGITS)}
            for value, name in sorted((float(column[n]), names[n]) for n in known)
        ]
        worst = ranked[: min(NUM_SAMPLES, (len(ranked) + 1) // 2)]
        best = ranked[len(worst) :][-NUM_SAMPLES:][::-1]
        found.append({"class_id": class_id, "worst": worst, "best": best})
    return found
