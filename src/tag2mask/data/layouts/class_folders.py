"""Layout ``class_folders``: a folder for each class, perhaps below one per split."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from tag2mask.artifacts.files import file_digest
from tag2mask.data.images import is_image
from tag2mask.data.layouts.listing import (
    Collection,
    Listed,
    Listing,
    Photographs,
    RowError,
    name_classes,
)
from tag2mask.pictures import files_below

_OTHER_FORMATS = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl")


def list_class_folders(
    root: Path,
    *,
    images: str,
    masks: str | None,
    train: str,
    classes: str | Sequence[str] | None,
) -> Listing:
    """List images whose only tag is the folder that they are in.

    They are at ``SPLIT/CLASS/...`` if the folder ``train`` exists, holds folders and
    holds no image itself, else at ``CLASS/...``; deeper folders are of the class
    above them. A picture that is in two places is a problem: one tag each would be
    half the truth, and the same picture in two splits would flatter the score. Two
    files are one picture if their names and contents are equal.

    Args:
        root: Folder of the data set.
        images: Folder below it that holds the class folders, or those of splits.
        masks: Folder below the root that holds no images, though it may lie among
            them.
        train: Name of the split that trains.
        classes: A file of names, the names, or None: the folders found, sorted.

    Raises:
        DatasetError: If there is no image, or the class file cannot be read. All else
            that is wrong is in the listing.
    """
    folder = root / images
    photographs = Photographs(root, images)
    depth = 1 if _is_split(folder / train) else 0
    found = Collection()
    for file in photographs.files():
        if masks is not None and (folder / file).is_relative_to(root / masks):
            continue
        parts = PurePosixPath(file).parts
        if len(parts) < depth + 2:
            expected = "SPLIT/CLASS/IMAGE" if depth else "CLASS/IMAGE"
            found.problems.append(
                f"{folder / file} is in no class folder; expected {expected} below "
                f"{folder}"
            )
            continue
        split = parts[0] if depth else train
        try:
            image = photographs.find(file, [parts[depth]], split)
        except RowError as problem:
            found.problems.append(f"{folder}{problem}")
        else:
            found.add(image, folder)
    class_names, wrong = name_classes(root, folder, classes, found.images)
    twice = _same_pictures(found.images, root)
    problems = (*found.problems, *wrong, *twice)
    return Listing(found.images, class_names, problems, tuple(_unread(folder)))


def _unread(folder: Path) -> Iterator[str]:
    """Count the pictures that would be listed if their format were read."""
    found = [path.suffix.lower() for path in files_below(folder)]
    if kinds := sorted({*found} & {*_OTHER_FORMATS}):
        count = sum(suffix in kinds for suffix in found)
        yield (
            f"{count} files of formats that are not read ({', '.join(kinds)}): left "
            f"out; convert them"
        )


def _is_split(folder: Path) -> bool:
    """Whether a folder holds class folders, and so is no class folder itself."""
    inside = list(folder.iterdir()) if folder.is_dir() else []
    return any(each.is_dir() for each in inside) and not any(map(is_image, inside))


def _same_pictures(images: Iterable[Listed], root: Path) -> Iterator[str]:
    """Name the pictures that are in more than one place."""
    alike: dict[tuple[str, int], list[str]] = {}
    for image in images:
        size = (root / image.file).stat().st_size
        alike.setdefault((Path(image.file).name, size), []).append(image.file)
    for files in alike.values():
        if len(files) < 2:
            continue
        same: dict[str, list[str]] = {}
        for file in files:
            same.setdefault(file_digest(root / file), []).append(file)
        for places in same.values():
            if len(places) > 1:
                yield (
                    f"{' and '.join(places)} are one picture; keep one, or name all "
                    f"its tags with data.layout = 'folder'"
                )
