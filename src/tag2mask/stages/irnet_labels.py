"""Labels that IRNet learns from: of activation maps, or of a vote."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from tag2mask import config
from tag2mask.artifacts.cams import Cams, read_cams
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.affinity import join_confident, labels_above
from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.voting import is_clean
from tag2mask.stages.seed import CPU, LESS_MEMORY
from tag2mask.stages.smoothing import smooth_labels


def from_cams(
    index: Index,
    cams: Path,
    settings: config.IrnetLabels,
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write labels/IMAGE.png of what activation maps are confident of.

    Args:
        index: The images.
        cams: Folder of a voter's activation maps.
        settings: Thresholds and CRF.
        folder: Where the labels go; images that are there are not computed again.
        runtime: How many threads, and where the CRF runs.
    """

    def label(image: ImageRecord) -> UInt8[Tensor, "h w"]:
        pixels = torch.from_numpy(read_indexed(index, image))
        found = read_cams(cams, image.name)
        with explain_full_memory(LESS_MEMORY):
            return confident_labels(found, pixels, settings, runtime.device)

    _write(index, label, folder, runtime)


def from_seeds(index: Index, seeds: Path, folder: Path, *, runtime: Runtime) -> None:
    """Write labels/IMAGE.png of a voter's seeds, as they are.

    Args:
        index: The images.
        seeds: Folder of labels/.
        folder: As above.
        runtime: How many threads.
    """
    labels = LabelFolder(seeds / "labels")
    _write(index, lambda image: labels[image.name], folder, runtime)


def from_vote(
    index: Index, voted: Path, folder: Path, *, min_support: int, runtime: Runtime
) -> None:
    """Write labels/IMAGE.png of what enough voters agree on.

    Args:
        index: The images.
        voted: Folder of labels/ and support/.
        folder: As above.
        min_support: Votes that are enough; pixels with fewer are unknown.
        runtime: How many threads.
    """
    labels, support = LabelFolder(voted / "labels"), LabelFolder(voted / "support")

    def label(image: ImageRecord) -> UInt8[Tensor, "h w"]:
        agreed = is_clean(support[image.name], min_support=min_support)
        return labels[image.name].masked_fill(~agreed, IGNORE)

    _write(index, label, folder, runtime)


def confident_labels(
    cams: Cams,
    image: UInt8[Tensor, "h w 3"],
    settings: config.IrnetLabels,
    device: torch.device = CPU,
) -> UInt8[Tensor, "h w"]:
    """Return what one image's maps are confident of, 255 elsewhere.

    Two label maps, one at each threshold, are moved to the edges of the image by a CRF;
    then objects of the stricter one and background of both remain.
    """
    height, width, _ = image.shape
    maps = cams.at(height, width)
    found = [
        labels_above(maps, cams.class_ids, threshold=threshold)
        for threshold in (settings.foreground, settings.background)
    ]
    if settings.crf != "none":
        found = [
            smooth_labels(
                each,
                image,
                preset=settings.crf,
                certainty=settings.certainty,
                shrink=settings.crf_shrink,
                device=device,
            )
            for each in found
        ]
    return join_confident(*found)


def _write(
    index: Index,
    label: Callable[[ImageRecord], UInt8[Tensor, "h w"]],
    folder: Path,
    runtime: Runtime,
) -> None:
    labels = LabelFolder(folder / "labels")

    def write(image: ImageRecord) -> None:
        write_labels(labels.folder, image.name, label(image))

    missing = [image for image in index.split("train") if image.name not in labels]
    for_each_image(write, missing, runtime=runtime, title="labels for irnet")
