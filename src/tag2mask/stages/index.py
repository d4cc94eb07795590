"""Stage index: which images there are, checked, with every problem told at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tag2mask import config
from tag2mask.artifacts.files import digest
from tag2mask.artifacts.tables import ImageRecord, write_index
from tag2mask.data.images import read_image
from tag2mask.data.layouts import Listed, Listing
from tag2mask.data.masks import MaskFolder
from tag2mask.data.review import ReviewFile
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError, Tag2MaskError
from tag2mask.stages.index_layouts import (
    list_layout,
    nothing_to_train_on,
    split_names,
)

VERSION = 1
_MOST_PROBLEMS = 50
_MOST_NAMES = 5


def list_images(data: config.Data) -> Listing:
    """List a data set as its layout says, with splits named ``train`` and ``val``."""
    listing = list_layout(data)
    names = split_names(data)
    images = [
        image._replace(split=names[image.split])
        for image in listing.images
        if image.split in names
    ]
    if not any(image.split == "train" for image in images):
        problem = nothing_to_train_on(data, listing)
        return listing._replace(problems=(*listing.problems, problem))
    notes = list(listing.notes)
    if left_out := len(listing.images) - len(images):
        notes.append(f"{left_out} images are of neither split: left out")
    found = listing._replace(images=tuple(images), notes=tuple(notes))
    return _without_marked(data, found)


def review_file(data: config.Data) -> ReviewFile | None:
    """Return where the marks of a data set are, None if none are to be honoured."""
    return ReviewFile(data.root / data.review) if data.review else None


def _without_marked(data: config.Data, listing: Listing) -> Listing:
    """Leave out the train images that a person has marked.

    Those that are kept unseen stay, whatever was said of them: a score must not be
    mended by leaving out what is hard.
    """
    review = review_file(data)
    if review is None:
        return listing
    try:
        marks = review.read()
    except DatasetError as error:
        return listing._replace(problems=(*listing.problems, str(error)))
    kept = tuple(
        image
        for image in listing.images
        if image.split != "train"
        or image.name not in marks
        or not marks[image.name].leaves_out(image.tags)
    )
    count = len(listing.images) - len(kept)
    if not count:
        return listing
    if not any(image.split == "train" for image in kept):
        problem = f"{review.path} leaves out every image of the train split"
        return listing._replace(problems=(*listing.problems, problem))
    note = f"{count} images are marked in {review.path.name}: left out"
    return listing._replace(images=kept, notes=(*listing.notes, note))


def fingerprint(
    data: config.Data, listing: Listing, *, runtime: Runtime | None = None
) -> str:
    """Digest names, sizes in bytes and tags; another digest means other data.

    Raises:
        DatasetError: If the listing has problems, all of them in one message.
    """
    if listing.problems:
        found = examine(data, listing, runtime=runtime or Runtime())
        _refuse(found.problems, data)
    images = [
        [*image, (data.root / image.file).stat().st_size] for image in listing.images
    ]
    return digest([images, listing.class_names])


class Examined(NamedTuple):
    """What the files of a listing hold.

    Attributes:
        records: The images that can be read.
        problems: All that is wrong, that of the listing first.
        notes: What a user should know without its being wrong.
        masked: Names of the images that have a mask.
    """

    records: tuple[ImageRecord, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    masked: frozenset[str]


def examine(data: config.Data, listing: Listing, *, runtime: Runtime) -> Examined:
    """Decode every image and read every mask once."""
    masks, without = _open_masks(data)
    problems = [*listing.problems, *without]
    ids = {name: number for number, name in enumerate(listing.class_names)}
    # without a class list every id in a mask would be unknown
    checked_masks = masks if len(ids) > 1 else None

    def check(image: Listed) -> tuple[ImageRecord | None, str]:
        return _check(image, data.root, ids, checked_masks)

    records: list[ImageRecord] = []
    bad: list[str] = []
    checked = map_images(check, listing.images, runtime=runtime, title="index")
    for image, (record, problem) in zip(listing.images, checked, strict=True):
        if record is None and data.skip_bad:
            bad.append(image.file)
            continue
        if problem:
            problems.append(problem)
        if record is not None:
            records.append(record)
    if not problems and not any(record.split == "train" for record in records):
        problems.append("no image of the train split can be read")
    names = [record.name for record in records]
    masked = frozenset(name for name in names if masks is not None and name in masks)
    # an unknown tag is a problem, and its image none of background
    untagged = {image.name for image in listing.images if not image.tags} & {*names}
    notes = [*listing.notes, *_notes(records, bad, masks, num_untagged=len(untagged))]
    return Examined(tuple(records), tuple(problems), tuple(notes), masked)


def _open_masks(data: config.Data) -> tuple[MaskFolder | None, list[str]]:
    """Return the masks, if there are any, and what is wrong with their folder."""
    if data.masks is None:
        return None, []
    try:
        return MaskFolder(data.root / data.masks), []
    except DatasetError as error:
        return None, [str(error)]


def run(data: config.Data, listing: Listing, folder: Path, *, runtime: Runtime) -> None:
    """Write images.jsonl, classes.json and notes.json.

    Every image is decoded and every mask read once.

    Raises:
        DatasetError: Listing all images and masks that cannot be used.
    """
    found = examine(data, listing, runtime=runtime)
    _refuse(found.problems, data)
    write_index(folder, found.records, listing.class_names, found.notes)


def _check(
    image: Listed, root: Path, ids: Mapping[str, int], masks: MaskFolder | None
) -> tuple[ImageRecord | None, str]:
    """Read an image, and its mask if there is one; say what is wrong with them."""
    try:
        height, width = read_image(root / image.file).shape[:2]
    except Tag2MaskError as error:
        return None, str(error)
    problem = ""
    if masks is not None and image.name in masks:
        try:
            masks.read(image.name, num_classes=len(ids), size=(width, height))
        except Tag2MaskError as error:
            problem = str(error)
    tags = tuple(sorted(ids[tag] for tag in image.tags if tag in ids))
    record = ImageRecord(image.name, image.file, width, height, tags, image.split)
    return record, problem


def _notes(
    records: Sequence[ImageRecord],
    bad: Sequence[str],
    masks: MaskFolder | None,
    *,
    num_untagged: int,
) -> list[str]:
    notes = []
    if bad:
        names = ", ".join([*bad[:_MOST_NAMES], *["..."][: len(bad) > _MOST_NAMES]])
        notes.append(
            f"{len(bad)} images cannot be read: left out (data.skip_bad): {names}"
        )
    if masks is not None and not any(record.name in masks for record in records):
        notes.append(f"no image has a mask in {masks.folder}: nothing can be scored")
    if num_untagged:
        notes.append(f"images without a tag, of background only: {num_untagged}")
    return notes


def _refuse(problems: Sequence[str], data: config.Data) -> None:
    if not problems:
        return
    shown = [f"  {problem}" for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        shown.append(f"  and {len(problems) - _MOST_PROBLEMS} more")
    heading = f"{data.root}: problems with the data: {len(problems)}"
    raise DatasetError("\n".join([heading, *shown]))
