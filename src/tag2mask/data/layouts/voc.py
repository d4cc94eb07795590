"""Layout ``voc``: PASCAL VOC as it is unpacked, and data sets in its form."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tag2mask.data.layouts.listing import (
    Collection,
    Listing,
    Photographs,
    RowError,
    name_classes,
)
from tag2mask.data.layouts.name_lists import read_names
from tag2mask.data.published import VOC_CLASSES
from tag2mask.data.xml_file import read_xml
from tag2mask.errors import DatasetError

_LISTS = "ImageSets/Segmentation"


def list_voc(
    root: Path,
    *,
    lists: Mapping[str, str],
    images: str,
    annotations: str,
    difficult: bool,
    classes: str | Sequence[str] | None,
) -> Listing:
    """List VOC: name lists, photographs, and an XML file for each with its objects.

    Args:
        root: Such as ``VOCdevkit/VOC2012``.
        lists: For each split a name below ``ImageSets/Segmentation``, a path below
            the root, or nothing where the split is empty.
        images: Folder of photographs.
        annotations: Folder of XML files.
        difficult: Whether objects marked as difficult count as tags.
        classes: A file of names, the names, or None: VOC's 20.

    Raises:
        DatasetError: If a list or a folder is missing or unreadable. All else that
            is wrong is in the listing.
    """
    photographs = Photographs(root, images)
    if not (root / annotations).is_dir():
        raise DatasetError(
            f"there is no folder of annotations {root / annotations}; check data.root "
            f"and data.annotations"
        )
    found = Collection()
    for split, name in lists.items():
        if not name:
            continue
        path = list_path(root, name)
        for image in read_names(path, images, key=f"data.lists.{split}"):
            try:
                listed = photographs.find(image, (), split)
                xml = root / annotations / f"{listed.name}.xml"
                tags = _read_tags(xml, difficult=difficult)
            except RowError as problem:
                found.problems.append(f"{path}{problem}")
            except DatasetError as problem:
                found.problems.append(str(problem))
            else:
                found.add(listed._replace(tags=tags), path)
    class_names, wrong = name_classes(
        root, root / annotations, classes or VOC_CLASSES, found.images
    )
    return Listing(found.images, class_names, (*found.problems, *wrong), ())


def list_path(root: Path, name: str) -> Path:
    """Return the file of a list: ``train`` is ``ImageSets/Segmentation/train.txt``."""
    path = Path(name)
    if len(path.parts) > 1:
        return root / path
    return root / _LISTS / f"{name.removesuffix('.txt')}.txt"


def _read_tags(path: Path, *, difficult: bool) -> tuple[str, ...]:
    """Read the classes of the objects of an annotation, each once."""
    try:
        root = read_xml(path)
    except FileNotFoundError:
        raise DatasetError(
            f"there is no annotation {path}; add it, or take the image off its list"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read as an annotation: {error}; replace it, or take "
            f"the image off its list"
        ) from None
    tags = []
    for each in root.findall("object"):
        name = (each.findtext("name") or "").strip()
        if not name:
            raise DatasetError(f"{path}: an object has no name; write <name> in it")
        if difficult or (each.findtext("difficult") or "0").strip() != "1":
            tags.append(name)
    return tuple(dict.fromkeys(tags))
