"""Layout ``coco``: tags from the instances files of COCO."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask.data.classes import BACKGROUND_NAME, with_background
from tag2mask.data.coco_file import categories_of, read_coco
from tag2mask.data.layouts.listing import Collection, Listed, Listing
from tag2mask.data.published import COCO_CLASSES, COCO_COUNTS
from tag2mask.errors import DatasetError

_MOST = 3


class Instances(NamedTuple):
    """Where the two halves of a split are, below the root.

    Attributes:
        annotations: The instances file.
        images: The folder of its images.
    """

    annotations: str
    images: str


def list_coco(
    root: Path, *, splits: Mapping[str, Instances], crowd: bool, untagged: bool = True
) -> Listing:
    """List COCO: an image's tags are the categories of its annotations.

    Classes are the categories by ascending id, so that ids of label maps have no gap.

    Args:
        root: Folder of the data set.
        splits: Annotations and images of each split.
        crowd: Whether regions of a crowd (``iscrowd``) count as tags.
        untagged: Whether images that have no tag then are listed.

    Raises:
        DatasetError: If a file or folder is missing or unreadable. All else that is
            wrong is in the listing.
    """
    found = Collection()
    categories: dict[int, str] = {}
    for split, place in splits.items():
        path = root / place.annotations
        content = read_coco(path, key=f"data.{split}.annotations")
        own = categories_of(content)
        found.problems += _category_problems(content, own, categories, path)
        categories = categories or own
        found.problems += _annotation_problems(content, own, path)
        if not (root / place.images).is_dir():
            raise DatasetError(
                f"there is no image folder {root / place.images}; check data.root and "
                f"data.{split}.images"
            )
        tags = _tags(content, own, crowd=crowd)
        for row in content["images"]:
            file = Path(place.images) / row["file_name"]
            if not (root / file).is_file():
                found.problems.append(
                    f"{path}: image {row['file_name']!r} has no file in "
                    f"{root / place.images}"
                )
                continue
            name = Path(row["file_name"]).with_suffix("").as_posix()
            names = tuple(own[each] for each in sorted(tags.get(row["id"], ())))
            if names or untagged:
                found.add(Listed(name, file.as_posix(), names, split), path)
    try:
        source = str(root / next(iter(splits.values())).annotations)
        class_names = with_background(tuple(categories.values()), source=source)
    except DatasetError as error:
        found.problems.append(str(error))
        class_names = (BACKGROUND_NAME,)
    files = [Path(place.annotations) for place in splits.values()]
    published = next((file for file in files if file.stem in COCO_COUNTS), None)
    notes = () if published is None else _differences(categories, published)
    return Listing(found.images, class_names, tuple(found.problems), tuple(notes))


def _differences(categories: Mapping[int, str], file: Path) -> Iterator[str]:
    """Compare the categories of a file that has a published one's name with those."""
    for what, one, other in (
        ("absent", COCO_CLASSES, categories),
        ("not among them", categories, COCO_CLASSES),
    ):
        if differ := sorted(set(one.items()) - set(other.items())):
            some = ", ".join(f"{number} {name!r}" for number, name in differ[:_MOST])
            more = ", ..." if len(differ) > _MOST else ""
            yield (
                f"{file.name}: its categories are not the {len(COCO_CLASSES)} of COCO; "
                f"{what}: {len(differ)} ({some}{more})"
            )


def _tags(
    content: Mapping[str, Any], categories: Mapping[int, str], *, crowd: bool
) -> dict[int, set[int]]:
    """Return the category ids of each image that has any, by the image's id."""
    tags: dict[int, set[int]] = {}
    for row in content["annotations"]:
        if row["category_id"] in categories and (crowd or not row.get("iscrowd")):
            tags.setdefault(row["image_id"], set()).add(row["category_id"])
    return tags


def _category_problems(
    content: Mapping[str, Any],
    own: Mapping[int, str],
    others: Mapping[int, str],
    path: Path,
) -> Iterator[str]:
    counts = Counter(row["id"] for row in content["categories"])
    for number, count in counts.items():
        if count > 1:
            yield f"{path}: category id {number} is given {count} times"
    if others and own != others:
        differ = sorted(set(own.items()) ^ set(others.items()))[:_MOST]
        some = ", ".join(f"{number} {name!r}" for number, name in differ)
        yield (
            f"{path}: its categories are not those of the training split ({some}); "
            f"both files must have the same list"
        )


def _annotation_problems(
    content: Mapping[str, Any], categories: Mapping[int, str], path: Path
) -> Iterator[str]:
    images = Counter(row["id"] for row in content["images"])
    for number, count in images.items():
        if count > 1:
            yield (
                f"{path}: image id {number} is given {count} times; give each image "
                f"one of its own"
            )
    for name, known, what in (
        ("category_id", categories, "category"),
        ("image_id", images, "image"),
    ):
        unknown = Counter(
            row[name] for row in content["annotations"] if row[name] not in known
        )
        for number, count in sorted(unknown.items()):
            yield (
                f"{path}: {count} annotations have the {name} {number}, but there is "
                f"no such {what}; correct or remove them"
            )
