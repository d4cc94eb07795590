"""How stage index lists each layout of data."""

from typing import assert_never

from tag2mask import config
from tag2mask.data import layouts
from tag2mask.data.layouts import Listing

_Export = (
    config.LabelStudioData
    | config.CvatData
    | config.ImageFolderData
    | config.FiftyOneData
)


def list_layout(data: config.Data) -> Listing:
    """List a data set as its layout says, with splits named as they are there."""
    if isinstance(data, _Export):
        return _list_export(data)
    match data:
        case config.FolderData():
            return layouts.list_folder(
                data.root, images=data.images, tags=data.tags, classes=data.classes
            )
        case config.JsonData():
            return layouts.list_json(
                data.root, images=data.images, tags=data.tags, classes=data.classes
            )
        case config.VocData():
            return layouts.list_voc(
                data.root,
                lists=data.lists.model_dump(),
                images=data.images,
                annotations=data.annotations,
                difficult=data.difficult,
                classes=data.classes,
            )
        case config.CocoData():
            return _list_coco(data)
        case config.ClassFoldersData():
            return layouts.list_class_folders(
                data.root,
                images=data.images,
                masks=data.masks,
                train=data.splits.train,
                classes=data.classes,
            )
        case config.MultiHotData():
            return layouts.list_multi_hot(
                data.root,
                lists=data.lists.model_dump(),
                images=data.images,
                labels=data.labels,
                classes=data.classes,
            )
        case _:
            assert_never(data)


def _list_export(data: _Export) -> Listing:
    """List what another tool exported."""
    match data:
        case config.LabelStudioData():
            return layouts.list_label_studio(
                data.root,
                images=data.images,
                tags=data.tags,
                field=data.field,
                control=data.control,
                classes=data.classes,
            )
        case config.CvatData():
            return layouts.list_cvat(
                data.root, images=data.images, tags=data.tags, classes=data.classes
            )
        case config.ImageFolderData():
            return layouts.list_image_folder(
                data.root,
                metadata=data.metadata,
                column=data.column,
                splits=(data.splits.train, data.splits.val),
                classes=data.classes,
            )
        case config.FiftyOneData():
            return layouts.list_fiftyone(
                data.root,
                splits=(data.splits.train, data.splits.val),
                images=data.images,
                labels=data.labels,
                classes=data.classes,
            )
        case _:
            assert_never(data)


def _list_coco(data: config.CocoData) -> Listing:
    splits = {"train": data.train} | ({"val": data.val} if data.val else {})
    return layouts.list_coco(
        data.root,
        splits={
            name: layouts.Instances(split.annotations, split.images)
            for name, split in splits.items()
        },
        crowd=data.crowd,
        untagged=data.untagged,
    )


def split_names(data: config.Data) -> dict[str, str]:
    """Return ``train`` and ``val`` by what the layout calls them."""
    if isinstance(data, config.VocData | config.CocoData | config.MultiHotData):
        return {"train": "train", "val": "val"}
    return {data.splits.train: "train", data.splits.val: "val"}


def nothing_to_train_on(data: config.Data, listing: Listing) -> str:
    """Say that no image is of the train split, and what to do."""
    train = next(name for name, split in split_names(data).items() if split == "train")
    if isinstance(data, config.VocData | config.CocoData | config.MultiHotData):
        return "no image is left to train on"
    found = ", ".join(sorted({repr(image.split) for image in listing.images}))
    return (
        f"no image is of split {train!r}, found: {found or 'none'}; set "
        f"data.splits.train"
    )
