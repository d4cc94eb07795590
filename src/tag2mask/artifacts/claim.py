"""Folders of label maps that say who made them, so that nobody mixes two."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tag2mask.artifacts.files import is_scratch, read_json, write_json
from tag2mask.errors import DatasetError

CLASSES = "classes.json"
"""Class names by id, beside the label maps."""
CLAIM = "predict.json"


def claim_folder(
    out: Path, made_by: Mapping[str, Any], images: Mapping[str, Path]
) -> None:
    """Note in ``out`` whose label maps it holds, and drop those of changed images.

    Args:
        out: Folder of index PNGs.
        made_by: The model and its protocol, as JSON.
        images: The files to predict, by name.

    Raises:
        DatasetError: If ``out`` holds label maps that something else made.
    """
    path = out / CLAIM
    before = read_json(path) if path.exists() else {"images": {}}
    if not isinstance(before, dict) or not isinstance(before.get("images", {}), dict):
        raise DatasetError(f"{path} is no note of a prediction; delete the folder")
    is_other = {**made_by, "images": before.get("images")} != before
    if is_other and any(not is_scratch(each) for each in out.rglob("*.png")):
        raise DatasetError(
            f"{out} holds label maps that another model, protocol or program made; "
            f"choose another folder, or delete it"
        )
    known = before.get("images") or {}
    for name, file in images.items():
        identity = _identity(file)
        if known.get(name) != identity:
            (out / f"{name}.png").unlink(missing_ok=True)
        known[name] = identity
    write_json(path, {**made_by, "images": known})


def _identity(file: Path) -> list[str | int]:
    """Return what changes when an image does."""
    status = file.stat()
    return [str(file.resolve()), status.st_size, status.st_mtime_ns]
