"""Panels of the report: what every stage made of one image."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from tag2mask.artifacts.cams import cam_path, read_cams
from tag2mask.artifacts.edges import edge_path, read_edges
from tag2mask.artifacts.files import digest
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.data.images import read_indexed
from tag2mask.data.masks import MaskFolder
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.shapes import BACKGROUND, IGNORE
from tag2mask.models.segmenters import load_segmenter
from tag2mask.stages.predict import predict_labels
from tag2mask.stages.report_pictures import (
    Layer,
    clean_layer,
    heat_layer,
    labels_layer,
)
from tag2mask.stages.report_sources import Sources

Predictor = Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w"]]


class Cell(NamedTuple):
    """One picture of a panel.

    Attributes:
        kind: The stage, as one word.
        detail: Which one of that stage, or what is seen; may be empty.
        layer: What lies over the photograph; None: nothing.
    """

    kind: str
    detail: str
    layer: Layer | None


class Panel(NamedTuple):
    """Everything that was made of one image, in the order of the stages."""

    image: ImageRecord
    photo: UInt8[np.ndarray, "h w 3"]
    cells: tuple[Cell, ...]


def make_panel(
    sources: Sources, image: ImageRecord, predictor: Predictor | None
) -> Panel:
    """Gather what there is of an image; what was not made is left out.

    Args:
        sources: The artifacts.
        image: One image of the index.
        predictor: The segmenter, asked where no prediction is on disk.
    """
    photo = read_indexed(sources.index, image)
    cells = [Cell("image", f"{image.width}x{image.height}", None)]
    cells += _voter_cells(sources, image)
    cells += _vote_cells(sources, image)
    predictions = {
        name: labels[image.name].numpy()
        for name, labels in sources.predictions.items()
        if image.name in labels
    }
    if not predictions and predictor is not None:
        predictions = {"": predictor(photo)}
    for name, labels in predictions.items():
        cells.append(Cell("prediction", name, labels_layer(labels)))
    if sources.masks is not None:
        truth = truth_layer(sources.masks, image, sources.index.num_classes)
        cells += [] if truth is None else [Cell("truth", "", truth)]
    return Panel(image, photo, tuple(cells))


def truth_layer(
    masks: MaskFolder, image: ImageRecord, num_classes: int
) -> Layer | None:
    """Return the ground truth of an image to look at; None if it has none."""
    if image.name not in masks:
        return None
    size = image.width, image.height
    return labels_layer(masks.read(image.name, num_classes=num_classes, size=size))


def open_predictor(sources: Sources, runtime: Runtime) -> Predictor | None:
    """Return the segmenter as a function of an image."""
    if sources.segment is None:
        return None
    network = load_segmenter(sources.segment).network
    network.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict(
        photo: UInt8[np.ndarray, "h w 3"],
    ) -> UInt8[np.ndarray, "h w"]:
        pixels = torch.from_numpy(photo)
        found = predict_labels(network, pixels, sources.protocol, runtime.device)
        labels: UInt8[np.ndarray, "h w"] = found.numpy()
        return labels

    return predict


def pick_images(images: Sequence[ImageRecord], count: int) -> tuple[ImageRecord, ...]:
    """Choose images that spread evenly over the classes; the same ones every time.

    Each choice is of the class that was shown least so far, the lowest id first; an
    image without tags shows the background. Among the images of a class the order is
    that of a digest of their names: arbitrary, so that neighbours in a sequence are
    not shown together, and stable.

    Args:
        images: To choose from.
        count: How many; fewer if there are not as many.

    Returns:
        The chosen images in the order of ``images``.
    """
    queues: dict[int, list[ImageRecord]] = {}
    # from the last to the first, since a list is cheap to shorten at its end
    for image in sorted(images, key=lambda each: digest(each.name), reverse=True):
        for tag in image.tags or (BACKGROUND,):
            queues.setdefault(tag, []).append(image)
    shown = dict.fromkeys(queues, 0)
    chosen: set[str] = set()
    while queues and len(chosen) < count:
        rarest = min(queues, key=lambda tag: (shown[tag], tag))
        image = queues[rarest].pop()
        if not queues[rarest]:
            del queues[rarest]
        if image.name in chosen:
            continue
        chosen.add(image.name)
        for tag in image.tags or (BACKGROUND,):
            shown[tag] += 1
    return tuple(image for image in images if image.name in chosen)


def pick_for_show(
    sources: Sources, images: Sequence[ImageRecord], count: int
) -> tuple[ImageRecord, ...]:
    """Choose images that look well in a picture, without a look at the truth.

    Good are objects that fill a part of the image but not all of it, two classes
    rather than one, and voters that agree. New classes come before known ones.
    """
    left = sorted(images, key=lambda image: (-_appeal(sources, image), image.name))
    chosen: list[ImageRecord] = []
    seen: set[int] = set()
    while left and len(chosen) < count:
        fresh = [image for image in left if not seen & set(image.tags)]
        best = (fresh or left)[0]
        left.remove(best)
        chosen.append(best)
        seen |= set(best.tags)
    return tuple(chosen)


def _voter_cells(sources: Sources, image: ImageRecord) -> Iterator[Cell]:
    names = sources.index.class_names
    first = sources.voters[:1]
    for voter in first:
        if not cam_path(voter.cams, image.name).exists():
            continue
        cams = read_cams(voter.cams, image.name)
        if cams.class_ids:
            tags = ", ".join(names[each] for each in cams.class_ids)
            heat = heat_layer(cams.maps.amax(dim=0).numpy())
            yield Cell("CAM", f"{tags} ({voter.name})", heat)
    for voter in sources.voters:
        if image.name in voter.labels:
            layer = labels_layer(voter.labels[image.name].numpy())
            yield Cell("seed", voter.name, layer)
    for voter in first:
        yield from _edge_cells(voter.refined.edges, image, voter.name)
    for voter in sources.voters:
        yield from _refined_cells(voter.refined.folder, image, voter.name)


def _edge_cells(edges: Path | None, image: ImageRecord, detail: str) -> Iterator[Cell]:
    if edges is not None and edge_path(edges, image.name).exists():
        layer = heat_layer(read_edges(edges, image.name).numpy())
        yield Cell("boundaries", detail, layer)


def _refined_cells(
    folder: Path | None, image: ImageRecord, detail: str
) -> Iterator[Cell]:
    if folder is not None and image.name in (labels := LabelFolder(folder / "labels")):
        yield Cell("refined", detail, labels_layer(labels[image.name].numpy()))


def _vote_cells(sources: Sources, image: ImageRecord) -> Iterator[Cell]:
    voted = _vote_of(sources.vote, image)
    if voted is None:
        return
    labels, support = voted
    yield Cell("vote", f"{len(sources.voters)} voters", labels_layer(labels))
    yield from _edge_cells(sources.refined.edges, image, "of the vote")
    learnt = voted
    for folder, by in (
        (sources.refined.folder, "vote"),
        (sources.relabelled, "by the segmenter"),
    ):
        yield from _refined_cells(folder, image, by)
        learnt = _vote_of(folder, image) or learnt
    labels, support = learnt
    for threshold in sorted({sources.min_support, *sources.clean_at}):
        share = (support >= threshold).mean()
        yield Cell(
            "clean",
            f"{share:.0%} with {threshold} or more votes",
            clean_layer(labels, support, min_support=threshold),
        )


def _vote_of(
    folder: Path | None, image: ImageRecord
) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]] | None:
    if folder is None:
        return None
    labels, support = LabelFolder(folder / "labels"), LabelFolder(folder / "support")
    if image.name not in labels or image.name not in support:
        return None
    return labels[image.name].numpy(), support[image.name].numpy()


def _appeal(sources: Sources, image: ImageRecord) -> float:
    voted = _vote_of(sources.vote, image)
    if voted is None:
        return 0.0
    labels, support = voted
    is_object = (labels != BACKGROUND) & (labels != IGNORE)
    fills = 0.1 <= float(is_object.mean()) <= 0.6
    num_classes = min(2, len(np.unique(labels[is_object])))
    agreement = float(support.mean()) / max(1, len(sources.voters))
    return fills + num_classes / 2 + agreement
