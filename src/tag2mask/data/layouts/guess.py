"""Guess the layout of a folder that somebody points at."""

from pathlib import Path

from tag2mask.errors import DatasetError

_EXPORTS = {
    "cvat": "annotations.xml",
    "fiftyone": "labels.json",
    "image_folder": "metadata.jsonl",
    "label_studio": "label-studio.json",
}


def guess_layout(folder: Path) -> dict[str, str]:
    """Return keys of the table ``[data]`` that fit a folder.

    ``tags.csv`` makes it a ``folder``, ``JPEGImages`` beside ``ImageSets`` a ``voc``,
    and the files that exports of other tools are called theirs.

    Raises:
        DatasetError: If it is none of them, saying what to give instead.
    """
    if (folder / "tags.csv").is_file():
        keys = {"layout": "folder", "root": str(folder)}
        if (folder / "masks").is_dir():
            keys["masks"] = "masks"
        if (folder / "classes.txt").is_file():
            keys["classes"] = "classes.txt"
        return keys
    if (folder / "JPEGImages").is_dir() and (folder / "ImageSets").is_dir():
        keys = {"layout": "voc", "root": str(folder)}
        if not (folder / "SegmentationClass").is_dir():
            keys["masks"] = ""
        return keys
    for layout, file in _EXPORTS.items():
        if (folder / file).is_file() or (folder / "train" / file).is_file():
            return {"layout": layout, "root": str(folder)}
    raise DatasetError(
        f"{folder} holds neither tags.csv nor JPEGImages and ImageSets, so that its "
        f"layout cannot be guessed; say --set data.layout=... or give a recipe"
    )
