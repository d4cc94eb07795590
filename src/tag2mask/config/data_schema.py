"""The table ``[data]`` of a recipe: one class for each layout of a data set."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    PlainSerializer,
    Tag,
    model_validator,
)

from tag2mask.config.base import Schema

Masks = Annotated[str | None, AfterValidator(lambda folder: folder or None)]
DefaultMasks = Annotated[Masks, PlainSerializer(lambda folder: folder or "")]
"""Masks that are there by default, so that their absence must be written down."""
Classes = str | tuple[str, ...] | None


class Splits(Schema):
    """Which values of the split column train, and which are kept unseen."""

    train: str = "train"
    val: str = "val"

    @model_validator(mode="after")
    def _splits_differ(self) -> "Splits":
        if self.train == self.val:
            raise ValueError(f"train and val must differ, both are {self.train!r}")
        return self


class AnyData(Schema):
    """What every layout has."""

    root: Path
    """Folder that the other paths start from."""
    masks: Masks = None
    """Folder of index PNGs, 255 = ignore. Scores only; never training. "": none."""
    skip_bad: bool = False
    """Leave out images that cannot be read instead of stopping."""


class FolderData(AnyData):
    """A plain folder: images, a table of tags, perhaps masks and a class list."""

    layout: Literal["folder"] = "folder"
    images: str = "images"
    tags: str = "tags.csv"
    """Table with the columns image, tags (separated by ";") and perhaps split."""
    classes: Classes = None
    """File of names, one a line, or the names; none: the tags found, sorted. A name's
    place, from 1, is its id in label maps; background is 0."""
    splits: Splits = Splits()


class VocLists(Schema):
    """Lists of image names below ``ImageSets/Segmentation``, or paths below root."""

    train: str = "train"
    """``trainaug`` where the lists of SBD are installed."""
    val: str = "val"
    """"": no image is kept unseen."""


class VocData(AnyData):
    """PASCAL VOC as it is unpacked: tags are the objects of the annotations."""

    layout: Literal["voc"] = "voc"
    lists: VocLists = VocLists()
    images: str = "JPEGImages"
    annotations: str = "Annotations"
    masks: DefaultMasks = "SegmentationClass"
    """``SegmentationClassAug`` for the masks of SBD."""
    difficult: bool = True
    """Whether objects marked as difficult count as tags [peer]."""
    classes: Classes = None
    """As in ``folder``; none: the 20 of VOC in their published order."""


Data = FolderData | VocData


def layout_of(table: Any) -> str:  # noqa: ANN401
    """Return the layout that a table names; one that names none is a folder."""
    if isinstance(table, dict):
        return str(table.get("layout", "folder"))
    return str(getattr(table, "layout", "folder"))


DataTable = Annotated[
    Annotated[FolderData, Tag("folder")] | Annotated[VocData, Tag("voc")],
    Discriminator(layout_of),
]
