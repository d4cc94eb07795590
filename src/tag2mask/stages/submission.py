"""Stage submission: label maps as the test server of PASCAL VOC takes them."""

import gzip
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tag2mask.artifacts.files import whole_file
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.data.classes import BACKGROUND_NAME
from tag2mask.data.layouts.name_lists import read_names
from tag2mask.data.published import VOC_CLASSES
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError, ModelError
from tag2mask.pictures import find_images, read_image
from tag2mask.stages.predict import Subject

RESULTS = "results"
FOLDER = f"{RESULTS}/VOC2012/Segmentation/comp6_test_cls"
"""Competition 6: trained on any data but the test set."""
ARCHIVE = "results.tar.gz"
_PHOTOGRAPHS = "JPEGImages"
_CLASS_NAMES = (BACKGROUND_NAME, *VOC_CLASSES)


def list_images(images: Path) -> list[Subject]:
    """Return the images of a test set, by name.

    Args:
        images: A list below ``ImageSets/Segmentation`` of PASCAL VOC, whose photographs
            are in ``JPEGImages`` beside it, or a folder of images.

    Raises:
        DatasetError: If there is no image, or a listed one is missing.
    """
    if images.is_dir():
        return [Subject(name, path) for name, path in find_images([images]).items()]
    parents = images.resolve().parents
    root = parents[min(2, len(parents) - 1)]
    listed = read_names(images, _PHOTOGRAPHS, key="--images")
    found = [Subject(name, root / _PHOTOGRAPHS / f"{name}.jpg") for name in listed]
    for image in found:
        if not image.path.is_file():
            raise DatasetError(
                f"there is no image {image.path}, which {images} lists; expected a "
                f"list in ImageSets/Segmentation beside a folder {_PHOTOGRAPHS}"
            )
    return found


def check_classes(class_names: Sequence[str]) -> None:
    """Refuse a model of other classes.

    Raises:
        ModelError: If they are not VOC's, in its order.
    """
    if tuple(class_names) != _CLASS_NAMES:
        raise ModelError(
            f"the test server knows the 20 classes of PASCAL VOC in their order, but "
            f"the model has {len(class_names)} classes, background included: "
            f"{', '.join(class_names)}"
        )


def run(
    labels: LabelFolder, images: Sequence[Subject], folder: Path, *, runtime: Runtime
) -> Path:
    """Write palette PNGs into the folders that the server expects, and pack them.

    A folder ``results`` that is there is made anew, so that nothing else is handed in.

    Args:
        labels: The label map of each image.
        images: All of the test set.
        folder: Where ``results`` and ``results.tar.gz`` go.
        runtime: How many threads.

    Returns:
        Path of the archive; the same label maps give the same bytes.

    Raises:
        DatasetError: If a label map is of another size than its image or holds an id
            that is no class, or a name has a folder in it.
    """
    shutil.rmtree(folder / RESULTS, ignore_errors=True)

    def write(image: Subject) -> None:
        if "/" in image.name:
            raise DatasetError(
                f"{image.path}: the server knows images by their names alone, got "
                f"{image.name!r}; name the folder that holds the images themselves"
            )
        found = labels[image.name]
        path, size = labels.path(image.name), read_image(image.path).shape[:2]
        if tuple(found.shape) != size:
            raise DatasetError(
                f"{path} is {found.shape[1]}x{found.shape[0]}, but {image.path} is "
                f"{size[1]}x{size[0]}; predict the image anew"
            )
        if (highest := int(found.max())) >= len(_CLASS_NAMES):
            raise DatasetError(
                f"{path} holds the id {highest}; the server takes 0 to "
                f"{len(_CLASS_NAMES) - 1}, and no pixel without a label"
            )
        write_labels(folder / FOLDER, image.name, found)

    for_each_image(write, images, runtime=runtime, title="submission")
    return _pack(folder)


def _pack(folder: Path) -> Path:
    """Write the archive, whole or not at all, without times and owners."""
    archive = folder / ARCHIVE
    with (
        whole_file(archive) as scratch,
        scratch.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted((folder / RESULTS).rglob("*")):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
                continue
            entry.size = path.stat().st_size
            with path.open("rb") as stream:
                tar.addfile(entry, stream)
    return archive
