"""Which images the report shows, and why; their pictures within a budget of bytes."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.engine.runtime import Runtime
from tag2mask.stages.report_classes import class_samples
from tag2mask.stages.report_panels import (
    Predictor,
    make_panel,
    pick_images,
)
from tag2mask.stages.report_sources import Sources
from tag2mask.stages.report_tables import Content, worst_images
from tag2mask.stages.report_views import PanelView, view_panel

MOST_BYTES = 12_000_000
"""Of all pictures: 3 MB of the page's 15 are left to its tables."""
_NUM_WORST = 6
"""Of a split."""
_LONG = 36
"""Letters of a class name in a remark."""


class Chosen(NamedTuple):
    """An image to show.

    Attributes:
        image: Of the index.
        groups: The choices that it belongs to: ``train``, ``test``, ``worst`` and
            ``samples``, the worst and best images of a class.
        remark: What makes it worth a look; may be empty.
    """

    image: ImageRecord
    groups: tuple[str, ...]
    remark: str


class Gallery(NamedTuple):
    """The panels that found room, and how many images did not."""

    panels: list[PanelView]
    num_left_out: int


def choose_images(content: Content, sources: Sources, count: int) -> list[Chosen]:
    """Choose the images to show, each once, those first that matter most.

    Args:
        content: Tells the worst images, and those of each class.
        sources: Has the images.
        count: Of each split; 0 chooses nothing at all.
    """
    if not count:
        return []
    index, test_split = sources.index, sources.test_split
    by_name = {image.name: image for image in index.images}
    remarks = {name: [text] for name, text in worst_images(content).items()}
    known = [by_name[name] for name in remarks if name in by_name]
    groups = {"train": list(pick_images(index.split("train"), count))}
    if test_split != "train":
        groups["test"] = list(pick_images(index.split(test_split), count))
    groups["worst"] = []
    for split in dict.fromkeys((test_split, "train")):
        of_split = [image for image in known if image.split == split]
        groups["worst"] += of_split[: min(count, _NUM_WORST)]
    groups["samples"] = []
    for name, text in _rank_samples(content, index):
        if name in by_name:
            groups["samples"].append(by_name[name])
            remarks.setdefault(name, []).append(text)
    chosen = dict.fromkeys(image for images in groups.values() for image in images)
    return [
        Chosen(
            image,
            tuple(group for group, images in groups.items() if image in images),
            "; ".join(remarks.get(image.name, ())),
        )
        for image in chosen
    ]


def show_images(
    sources: Sources,
    chosen: Sequence[Chosen],
    predictor: Predictor | None,
    *,
    runtime: Runtime,
    most_bytes: int = MOST_BYTES,
) -> Gallery:
    """Make the panels of images, in their order, as long as there is room for them.

    Args:
        sources: What the panels are made of.
        chosen: The images, those first that matter most.
        predictor: The segmenter, asked where no prediction is on disk.
        runtime: Shows how far this is.
        most_bytes: Of all pictures together.
    """
    panels: list[PanelView] = []
    with runtime.progress.task("report", len(chosen)) as advance:
        for image, groups, remark in chosen:
            view = view_panel(make_panel(sources, image, predictor), groups, remark)
            most_bytes -= view.num_bytes
            if most_bytes < 0:
                break
            panels.append(view)
            advance(1)
    return Gallery(panels, len(chosen) - len(panels))


def _rank_samples(content: Content, index: Index) -> list[tuple[str, str]]:
    """Return the images of every class with remarks: the worst of each come first."""
    lists = []
    for class_id, (worst, best) in class_samples(content).items():
        name = index.class_names[class_id]
        short = name if len(name) <= _LONG else f"{name[:_LONG]}..."
        ranks = zip_longest(
            [
                (each.image, f"among the worst of {short}: {each.text}")
                for each in worst
            ],
            [(each.image, f"among the best of {short}: {each.text}") for each in best],
        )
        lists.append([each for rank in ranks for each in rank if each is not None])
    # by rank and not by class, since what comes last may find no room
    return [each for rank in zip_longest(*lists) for each in rank if each is not None]
