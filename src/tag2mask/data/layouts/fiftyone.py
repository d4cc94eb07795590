"""Layout ``fiftyone``: FiftyOneImageClassificationDataset as it is exported."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tag2mask.data.layouts.listing import (
    Collection,
    Listing,
    Photographs,
    RowError,
    name_classes,
)
from tag2mask.data.layouts.numbered import named, names_by_number
from tag2mask.errors import DatasetError


def list_fiftyone(
    root: Path,
    *,
    splits: Sequence[str],
    images: str,
    labels: str,
    classes: str | Sequence[str] | None,
) -> Listing:
    """List an export, or one for each split.

    Args:
        root: Folder of the export, or of the folders of the splits.
        splits: Names of the folders that may hold a split, training first; if none is
            there, all images are of the first.
        images: Folder of the images in an export.
        labels: File in an export: ``labels`` by image, each a name, a number, an
            object with a ``label``, a list of them, or null; numbers are places in its
            ``classes``.
        classes: A file of names, the names, or None: the classes of the first export,
            or the tags found, sorted.

    Raises:
        DatasetError: If there is no export, or it cannot be read. All else that is
            wrong is in the listing.
    """
    exports = {
        split: split for split in splits if (root / split / labels).is_file()
    } or {splits[0]: ""}
    found = Collection()
    notes: list[str] = []
    known = classes
    for split, below in exports.items():
        source = root / below / labels
        content = _read(source)
        photographs = Photographs(root, (Path(below) / images).as_posix())
        own = content.get("classes") or None
        known = tuple(own) if known is None and own else known
        numbered = tuple(own) if own else names_by_number(root, classes)
        for name, value in content["labels"].items():
            try:
                tags = named(value, numbered, f"labels of {name!r}")
                listed = photographs.find(name, tags, split)
            except RowError as problem:
                found.problems.append(f"{source}{problem}")
                continue
            # the two splits of an export may each have an image 000001
            prefix = f"{below}/" if below else ""
            found.add(listed._replace(name=f"{prefix}{listed.name}"), source)
        if not below:
            notes += photographs.left_out(found, source)
    class_names, wrong = name_classes(root, source, known, found.images)
    return Listing(found.images, class_names, (*found.problems, *wrong), tuple(notes))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DatasetError(
            f"there is no file of labels {path}; check data.root and data.labels"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}") from None
    labels = content.get("labels") if isinstance(content, dict) else None
    classes = content.get("classes") if isinstance(content, dict) else None
    is_named = classes is None or (
        isinstance(classes, list) and all(isinstance(each, str) for each in classes)
    )
    if not isinstance(labels, dict) or not is_named:
        raise DatasetError(
            f"{path}: expected 'labels' by image and perhaps a list 'classes', as "
            f"FiftyOneImageClassificationDataset has them"
        )
    found: dict[str, Any] = content
    return found
