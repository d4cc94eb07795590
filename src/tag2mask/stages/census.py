"""Count what a data set holds, beside what is published of it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tag2mask import config
from tag2mask.data.published import COCO_COUNTS, VOC_COUNTS, Counts
from tag2mask.engine.runtime import Runtime
from tag2mask.stages import index


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
        problems: All that is wrong.
        notes: What a user should know without its being wrong.
    """

    splits: Mapping[str, SplitCensus]
    widths: tuple[int, int]
    heights: tuple[int, int]
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
    return Census(
        splits,
        _range([record.width for record in found.records]),
        _range([record.height for record in found.records]),
        found.problems,
        found.notes,
    )


def _range(values: list[int]) -> tuple[int, int]:
    return min(values, default=0), max(values, default=0)


def _published(data: config.Data) -> dict[str, Counts]:
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
        # without crowds fewer images have a tag than are annotated
        return {
            s: each if data.crowd else Counts(each.images) for s, each in counts.items()
        }
    return {}
