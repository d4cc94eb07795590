"""Layout ``cvat``: an image folder, and tags as "CVAT for images 1.1"."""

from collections.abc import Sequence
from pathlib import Path

from tag2mask.data.layouts.listing import (
    Collection,
    Listing,
    Photographs,
    RowError,
    name_classes,
)
from tag2mask.data.xml_file import read_xml
from tag2mask.errors import DatasetError


def list_cvat(
    root: Path, *, images: str, tags: str, classes: str | Sequence[str] | None
) -> Listing:
    """List the images of an export with their tags; boxes and outlines do not count.

    The split is an image's ``subset``, ``train`` where it has none.

    Args:
        root: Folder of the data set.
        images: Folder of the images below it.
        tags: The XML file. One with a DOCTYPE is refused: nothing in it is expanded.
        classes: A file of names, the names, or None: the tags found, sorted.

    Raises:
        DatasetError: If root, image folder, XML or class file are missing or
            unreadable. All else that is wrong is in the listing.
    """
    source = root / tags
    photographs = Photographs(root, images)
    try:
        content = read_xml(source)
    except FileNotFoundError:
        raise DatasetError(
            f"there is no file of tags {source}; check data.root and data.tags"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{source} cannot be read as XML: {error}") from None
    if content.tag != "annotations":
        raise DatasetError(
            f"{source}: expected <annotations> of 'CVAT for images 1.1', got "
            f"<{content.tag}>"
        )
    found = Collection()
    for image in content.iter("image"):
        names = [(tag.get("label") or "").strip() for tag in image.iter("tag")]
        try:
            listed = photographs.find(
                image.get("name", ""), names, image.get("subset") or "train"
            )
        except RowError as problem:
            found.problems.append(f"{source}{problem}")
        else:
            found.add(listed, source)
    class_names, wrong = name_classes(root, source, classes, found.images)
    return Listing(
        found.images,
        class_names,
        (*found.problems, *wrong),
        tuple(photographs.left_out(found, source)),
    )
