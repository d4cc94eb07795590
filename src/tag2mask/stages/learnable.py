"""Which classes tags can teach: often enough, and not always beside another."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from tag2mask.data.classes import nearest

LEAST_IMAGES = 50
"""Training images that a class needs; with fewer, maps are of what is around it by
chance. A rule of thumb, no bound from a paper."""
MOST_TOGETHER = 0.9
"""Share of the images of either of two classes that show both. Above it fewer than one
image in ten tells the two apart."""
MOST_EVERYWHERE = 0.95
"""Share of all images that show a class. Above it hardly an image shows what is not
it."""
_MOST_NAMED = 20
_TYPOS = 3
"""Images of a class that may be another one misspelt."""


def count_together(
    tags: Sequence[Sequence[str]], classes: Sequence[str]
) -> Int[np.ndarray, "t t"]:
    """Count the images that have both of two tags; on the diagonal, those of one."""
    ids = {name: place for place, name in enumerate(classes)}
    hot = np.zeros((len(tags), len(classes)), np.int64)
    for image, names in enumerate(tags):
        hot[image, [ids[name] for name in names if name in ids]] = 1
    found: np.ndarray = hot.T @ hot
    return found


def warn_of_tags(
    together: Int[np.ndarray, "t t"], classes: Sequence[str], *, num_images: int
) -> Iterator[str]:
    """Say which classes cannot be learnt from tags, or hardly.

    Args:
        together: From ``count_together``, of the images that train.
        classes: Without background.
        num_images: That train.
    """
    counts = together.diagonal()
    numbered = list(zip(classes, counts, strict=True))
    common = [name for name, count in numbered if count >= LEAST_IMAGES]
    rare = [
        f"{name} ({count}{nearest(name, common) if count <= _TYPOS else ''})"
        for name, count in numbered
        if count < LEAST_IMAGES
    ]
    if rare:
        yield (
            f"too rare to be learnt, with fewer than {LEAST_IMAGES} training images: "
            f"{_few(rare)}"
        )
    for name, count in zip(classes, counts, strict=True):
        if num_images and count > MOST_EVERYWHERE * num_images:
            yield (
                f"{name} is on {count} of {num_images} training images: hardly one "
                f"shows what it is not"
            )
    either = counts[:, None] + counts[None] - together
    share = together / np.maximum(either, 1)
    pairs = [
        f"{classes[a]} and {classes[b]} ({together[a, b]} of {either[a, b]} images)"
        for a, b in zip(*np.nonzero(np.triu(share > MOST_TOGETHER, 1)), strict=True)
    ]
    if pairs:
        yield (
            f"nearly always together, so that tags cannot tell which is which: "
            f"{_few(pairs)}"
        )


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
