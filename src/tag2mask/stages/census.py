"""Count what a data set holds, beside what is published of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from tag2mask import config
from tag2mask.data.published import COCO_COUNTS, VOC_COUNTS, Counts
from tag2mask.engine.runtime import Runtime
from tag2mask.stages import index
from tag2mask.stages.learnable import count_together, warn_of_tags

_EDGES = (1, 128, 256, 512, 1024, 2048, 4096)


class SplitCensus(NamedTuple):
    """Counts of one split, of all images that are listed.

    Attributes:
        images: Number of images.
        tagged: Number of images that have a tag.
        tags: Number of tags of all images together.
        masks: Number of images that have a mask.
        by_class: Number of images of each class; every class has a number.
        published: What is known of the published list of this name, if it is one.
    """

    images: int
    tagged: int
    tags: int
    masks: int
    by_class: Mapping[str, int]
    published: Counts | None


class Census(NamedTuple):
    """What a data set holds.

    Attributes:
        splits: By name, ``train`` first; none without an image.
        widths: Least and greatest width of an image that can be read, in pixels.
        heights: The same of heights.
        long_sides: Number of images by the range of their longer side, in pixels.
        classes: Without background.
        together: Number of training images with both of two classes.
        warnings: Which classes cannot be learnt from these tags, or hardly.
        problems: All that is wrong.
        notes: What a user should know without its being wrong.
    """

    splits: Mapping[str, SplitCensus]
    widths: tuple[int, int]
    heights: tuple[int, int]
    long_sides: Mapping[str, int]
    classes: tuple[str, ...]
    together: Int[np.ndarray, "t t"]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def take_census(data: config.Data, *, runtime: Runtime) -> Census:
    """List a data set, read all its files and count.

    Raises:
        DatasetError: If a folder or a table is missing, so that nothing is listed.
    """
    listing = index.list_images(data)
    found = index.examine(data, listing, runtime=runtime)
    published = _published(data)
    splits = {}
    for name in ("train", "val"):
        images = [image for image in listing.images if image.split == name]
        counts = Counter(tag for image in images for tag in image.tags)
        if images:
            splits[name] = SplitCensus(
                images=len(images),
                tagged=sum(bool(image.tags) for image in images),
                tags=counts.total(),
                masks=sum(image.name in found.masked for image in images),
                by_class={each: counts[each] for each in listing.class_names[1:]},
                published=published.get(name),
            )
    classes = listing.class_names[1:]
    training = [image.tags for image in listing.images if image.split == "train"]
    together = count_together(training, classes)
    return Census(
        splits,
        _range([record.width for record in found.records]),
        _range([record.height for record in found.records]),
        _histogram(max(record.width, record.height) for record in found.records),
        classes,
        together,
        tuple(warn_of_tags(together, classes, num_images=len(training))),
        found.problems,
        found.notes,
    )


def _range(values: list[int]) -> tuple[int, int]:
    return min(values, default=0), max(values, default=0)


def _histogram(sides: Iterable[int]) -> dict[str, int]:
    """Count sides by powers of two, from the first to the last that occurs."""
    counts = np.histogram(list(sides), (*_EDGES, np.inf))[0].tolist()
    names = [f"{low}-{high - 1}" for low, high in pairwise(_EDGES)]
    names.append(f"{_EDGES[-1]} and more")
    used = [place for place, count in enumerate(counts) if count]
    every = dict(zip(names, counts, strict=True))
    return dict(list(every.items())[used[0] : used[-1] + 1]) if used else {}


def _published(data: config.Data) -> Mapping[str, Counts | None]:
    """Return what is published of the lists or files that a recipe names."""
    if isinstance(data, config.VocData) and data.classes is None:
        # "train_aug" and "trainaug" are both about
        stems = {
            split: Path(name).stem.replace("_", "")
            for split, name in data.lists.model_dump().items()
        }
        return {
            split: VOC_COUNTS[stem]
            for split, stem in stems.items()
            if stem in VOC_COUNTS
        }
    if isinstance(data, config.CocoData):
        parts = {"train": data.train} | ({"val": data.val} if data.val else {})
        files = {split: Path(part.annotations).stem for split, part in parts.items()}
        counts = {
            s: COCO_COUNTS[file] for s, file in files.items() if file in COCO_COUNTS
        }
        return {split: _listed(each, data) for split, each in counts.items()}
    return {}


def _listed(counts: Counts, data: config.CocoData) -> Counts | None:
    """Return what is published of the images of a file that a recipe lists."""
    # without crowds fewer images have a tag than are annotated
    tagged = counts.tagged if data.crowd else None
    if data.untagged:
        return Counts(counts.images, tagged)
    return None if tagged is None else Counts(tagged, tagged)
