"""The table ``[data]`` of a recipe: one class for each layout of a data set."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    PlainSerializer,
    Tag,
    model_validator,
)

from tag2mask.config.base import Schema, kind_told_by

Masks = Annotated[str | None, AfterValidator(lambda folder: folder or None)]
DefaultMasks = Annotated[Masks, PlainSerializer(lambda folder: folder or "")]
"""Masks that are there by default, so that their absence must be written down."""
Classes = str | tuple[str, ...] | None


class Splits(Schema):
    """Which values of the split column train, and which are kept unseen."""

    train: str = "train"
    """Images to learn from."""
    val: str = "val"
    """Images kept unseen."""

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
    review: str = "review.jsonl"
    """File of marks as ``tag2mask serve`` writes them: train images marked "leave_out",
    or "wrong_tags" while they have these tags, are left out. No file: no marks [ours].
    "": none are honoured."""


class FolderData(AnyData):
    """A plain folder: images, a table of tags, perhaps masks and a class list."""

    layout: Literal["folder"] = "folder"
    images: str = "images"
    """Folder of the images, below root."""
    tags: str = "tags.csv"
    """Table with the columns image, tags (separated by ";") and perhaps split."""
    classes: Classes = None
    """File of names, one a line, or the names; none: the tags found, sorted. A name's
    place, from 1, is its id in label maps; background is 0."""
    splits: Splits = Splits()
    """Values of the column split."""


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
    """Which images train, and which are kept unseen."""
    images: str = "JPEGImages"
    """Folder of the images, below root."""
    annotations: str = "Annotations"
    """Folder of the XML files, below root."""
    masks: DefaultMasks = "SegmentationClass"
    """``SegmentationClassAug`` for the masks of SBD."""
    difficult: bool = True
    """Whether objects marked as difficult count as tags [peer]."""
    classes: Classes = None
    """As in ``folder``; none: the 20 of VOC in their published order."""


class CocoSplit(Schema):
    """Where the annotations and the images of a split are, below root."""

    annotations: str
    """JSON file of the instances."""
    images: str
    """Folder of the images."""


class CocoData(AnyData):
    """COCO as it is unpacked: tags are the categories of the annotations."""

    layout: Literal["coco"] = "coco"
    train: CocoSplit = CocoSplit(
        annotations="annotations/instances_train2014.json", images="train2014"
    )
    """Images to learn from."""
    val: CocoSplit | Literal[""] = CocoSplit(
        annotations="annotations/instances_val2014.json", images="val2014"
    )
    """"": no image is kept unseen."""
    crowd: bool = True
    """Whether regions of a crowd count as tags."""
    untagged: bool = True
    """Whether images without a tag are listed. Published scores of 2014 are of all
    40,504 images of val (CA-CL), or of the 40,137 with a tag (multi-seed)."""


class ClassFoldersData(AnyData):
    """A folder for each class, perhaps below one for each split; one tag an image."""

    layout: Literal["class_folders"] = "class_folders"
    images: str = ""
    """Folder of the class folders, or of those of the splits; "": root itself."""
    classes: Classes = None
    """As in ``folder``; none: the class folders, sorted."""
    splits: Splits = Splits()
    """Folders are splits if there is one named ``train`` that holds folders only."""


class JsonData(AnyData):
    """A plain folder whose tags are in a JSON array, or in JSON Lines."""

    layout: Literal["json"] = "json"
    images: str = "images"
    """Folder of the images, below root."""
    tags: str = "tags.json"
    """Objects with image, tags (a list, or separated by ";") and perhaps split."""
    classes: Classes = None
    """As in ``folder``."""
    splits: Splits = Splits()
    """Values of the key split."""


class NameLists(Schema):
    """Lists of image names, paths below root."""

    train: str = "train.txt"
    """Images to learn from."""
    val: str = "val.txt"
    """"": no image is kept unseen."""


class MultiHotData(AnyData):
    """Lists of names, and the label vectors that the field's programs share."""

    layout: Literal["multi_hot"] = "multi_hot"
    lists: NameLists = NameLists()
    """Which images train, and which are kept unseen."""
    images: str = "images"
    """Folder of the images, below root."""
    labels: str = "cls_labels.npy"
    """A pickled dictionary from name to vector; it is read without being run."""
    classes: str | tuple[str, ...]
    """File of names, one a line, or the names: one for each place of a vector."""


class LabelStudioData(AnyData):
    """Images, and choices that Label Studio exported as JSON."""

    layout: Literal["label_studio"] = "label_studio"
    images: str = "images"
    """Folder of the images, below root."""
    tags: str = "label-studio.json"
    """Label Studio's export as JSON, below root."""
    field: str = "image"
    """Key of a task's data that holds the image's address."""
    control: str = ""
    """Name of the <Choices> whose choices are tags; "": of all."""
    classes: Classes = None
    """As in ``folder``."""
    splits: Splits = Splits()
    """By ``split`` of a task's data."""


class CvatData(AnyData):
    """Images, and tags that CVAT exported as "CVAT for images 1.1"."""

    layout: Literal["cvat"] = "cvat"
    images: str = "images"
    """Folder of the images, below root."""
    tags: str = "annotations.xml"
    """CVAT's export, below root."""
    classes: Classes = None
    """As in ``folder``."""
    splits: Splits = Splits()
    """By an image's subset."""


class ExportSplits(Splits):
    """Folders of an export's splits, as they are called on the Hugging Face hub."""

    val: str = "validation"
    """Images kept unseen."""


class ImageFolderData(AnyData):
    """``imagefolder`` of Hugging Face datasets, with metadata beside the images."""

    layout: Literal["image_folder"] = "image_folder"
    metadata: str = "metadata.jsonl"
    """In the folder of each split, or at the root."""
    column: str = "tags"
    """Its key for a tag, or a list of them; numbers are places in ``classes``."""
    classes: Classes = None
    """As in ``folder``."""
    splits: ExportSplits = ExportSplits()
    """Folders of the splits."""


class FiftyOneData(AnyData):
    """FiftyOneImageClassificationDataset: one export, or one for each split."""

    layout: Literal["fiftyone"] = "fiftyone"
    images: str = "data"
    """Folder of the images of an export."""
    labels: str = "labels.json"
    """File of the tags of an export."""
    classes: Classes = None
    """As in ``folder``; none: the classes of the export."""
    splits: ExportSplits = ExportSplits()
    """Folders of the splits."""


Data = (
    FolderData
    | VocData
    | CocoData
    | ClassFoldersData
    | JsonData
    | MultiHotData
    | LabelStudioData
    | CvatData
    | ImageFolderData
    | FiftyOneData
)


layout_of = kind_told_by("layout", "folder")
"""The layout that a table names."""

DataTable = Annotated[
    Annotated[FolderData, Tag("folder")]
    | Annotated[VocData, Tag("voc")]
    | Annotated[CocoData, Tag("coco")]
    | Annotated[ClassFoldersData, Tag("class_folders")]
    | Annotated[JsonData, Tag("json")]
    | Annotated[MultiHotData, Tag("multi_hot")]
    | Annotated[LabelStudioData, Tag("label_studio")]
    | Annotated[CvatData, Tag("cvat")]
    | Annotated[ImageFolderData, Tag("image_folder")]
    | Annotated[FiftyOneData, Tag("fiftyone")],
    Discriminator(layout_of),
]
