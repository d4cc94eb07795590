"""The pictures of a study: the same images as every row sees them, side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tag2mask import config
from tag2mask.artifacts.cams import read_cams
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.config.study_schema import Score
from tag2mask.data.images import read_indexed
from tag2mask.stages.report_panels import pick_images, truth_layer
from tag2mask.stages.report_pictures import (
    Layer,
    Tile,
    heat_layer,
    labels_layer,
    strip,
)
from tag2mask.stages.truth import open_masks

MOST_ROWS = 8
"""Beyond these the tiles of one line would be too small to see."""
_WIDTH = 1600


class Shown(NamedTuple):
    """What one row has to show.

    Attributes:
        name: Of the row.
        score: Which of its stages.
        folder: Of that stage's artifact.
    """

    name: str
    score: Score
    folder: Path


def folder_of(score: Score, summary: Path) -> Path:
    """Return the folder of the artifact that a score is of."""
    artifacts = read_json(summary)["artifacts"]
    relative: str
    match score.stage:
        case "cam" | "seed":
            relative = artifacts["voters"][score.subject][score.stage]
        case "predict":
            relative = artifacts["predict"][score.subject]
        case _:
            relative = artifacts[score.stage]
    return summary.parent / relative


def draw_panels(
    rows: Sequence[Shown], index: Index, data: config.Data, *, count: int
) -> Image.Image | None:
    """Draw a line for each image: itself, every row's maps or labels, and the truth.

    Activation maps show, at each place, the highest of the image's tags.

    Args:
        rows: Of stages that see the same split.
        index: The images.
        data: Whose masks are shown last, if it has any.
        count: Images, of classes as different as can be; 0 draws nothing.
    """
    if not count or not 0 < len(rows) <= MOST_ROWS:
        return None
    masks = open_masks(data) if data.masks is not None else None
    split = "val" if all(each.score.stage == "predict" for each in rows) else "train"
    images = index.split(split) or index.split("train")
    lines = []
    for image in pick_images(images, count):
        tiles = list(_tiles(rows, index, image))
        truth = None if masks is None else truth_layer(masks, image, index.num_classes)
        if truth is not None:
            tiles.append(Tile("truth", tiles[0].photo, truth))
        lines.append(tiles)
    return strip(lines, width=_WIDTH) if lines else None


def _tiles(rows: Sequence[Shown], index: Index, image: ImageRecord) -> Iterator[Tile]:
    photo = read_indexed(index, image)
    tags = ", ".join(index.class_names[tag] for tag in image.tags)
    yield Tile(tags or "no tag", photo, None)
    for row in rows:
        yield Tile(row.name, photo, _layer(row, image, photo))


def _layer(
    row: Shown, image: ImageRecord, photo: UInt8[np.ndarray, "h w 3"]
) -> Layer | None:
    if row.score.stage != "cam":
        labels = LabelFolder(row.folder / "labels")
        return labels_layer(labels[image.name].numpy())
    cams = read_cams(row.folder / "cams", image.name)
    if not cams.class_ids:
        return None
    return heat_layer(cams.at(*photo.shape[:2]).amax(dim=0).numpy())
