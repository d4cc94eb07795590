"""Layout ``multi_hot``: lists of names, and a file of label vectors."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from tag2mask.data.classes import read_class_names, with_background
from tag2mask.data.label_pickle import read_label_vectors
from tag2mask.data.layouts.listing import Collection, Listing, Photographs, RowError
from tag2mask.data.layouts.name_lists import read_names


def list_multi_hot(
    root: Path,
    *,
    lists: Mapping[str, str],
    images: str,
    labels: str,
    classes: str | Sequence[str],
) -> Listing:
    """List images by name lists, with tags from ``cls_labels.npy``.

    The file's keys are names, or numbers as two of the field's files have them:
    ``2007_000032`` is 2007000032, and ``COCO_train2014_000000000009`` is 9.

    Args:
        root: Folder of the data set.
        lists: For each split a file of names below the root, or nothing where the
            split is empty.
        images: Folder of photographs.
        labels: The file, below the root; a vector has a 1 for each tag.
        classes: A file of names, or the names: one for each place of a vector.

    Raises:
        DatasetError: If a list, the labels, the classes or the image folder are
            missing or unreadable. All else that is wrong is in the listing.
    """
    photographs = Photographs(root, images)
    if isinstance(classes, str):
        names, source = read_class_names(root / classes), str(root / classes)
    else:
        names, source = tuple(classes), "data.classes"
    class_names = with_background(names, source=source)
    vectors = read_label_vectors(root / labels)
    found = Collection()
    for split, name in lists.items():
        if not name:
            continue
        path = root / name
        for image in read_names(path, images, key=f"data.lists.{split}"):
            try:
                listed = photographs.find(image, (), split)
            except RowError as problem:
                found.problems.append(f"{path}{problem}")
                continue
            try:
                tags = _tags(_vector(vectors, listed.name), listed.name, class_names)
            except RowError as problem:
                found.problems.append(f"{root / labels}{problem}")
            else:
                found.add(listed._replace(tags=tags), path)
    return Listing(found.images, class_names, tuple(found.problems), ())


def _vector(vectors: Mapping[str | int, np.ndarray], name: str) -> np.ndarray:
    """Find the vector of an image by its name, its file's name or its number."""
    keys: list[str | int] = [name, PurePosixPath(name).name, *_numbers(name)]
    for key in keys:
        if key in vectors:
            return vectors[key]
    raise RowError(
        f": image {name!r} has no label vector; take it off its list or add one"
    )


def _numbers(name: str) -> list[int]:
    """Return the numbers that may stand for a name."""
    last = PurePosixPath(name).name
    if re.fullmatch(r"[0-9_]+", last):
        digits = last.replace("_", "")
    else:
        digits = re.findall(r"[0-9]*$", last)[0]
    return [int(digits)] if digits else []


def _tags(vector: np.ndarray, name: str, class_names: Sequence[str]) -> tuple[str, ...]:
    classes = class_names[1:]
    if len(vector) != len(classes):
        raise RowError(
            f": the vector of {name!r} has {len(vector)} places, but there are "
            f"{len(classes)} classes; correct data.classes"
        )
    if not np.isin(vector, (0, 1)).all():
        raise RowError(f": the vector of {name!r} holds other numbers than 0 and 1")
    return tuple(classes[place] for place in np.flatnonzero(vector).tolist())
