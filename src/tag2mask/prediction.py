"""Predict images with a finished model, and score folders of label maps."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import ValidationError

from tag2mask import config
from tag2mask.artifacts.cams import CamFolder
from tag2mask.artifacts.claim import CLASSES, claim_folder
from tag2mask.artifacts.files import file_digest, read_json, write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError, RecipeError
from tag2mask.models import segmenters
from tag2mask.models.locate import locate_segmenter
from tag2mask.models.segmenters import Segmenter
from tag2mask.pictures import find_images, read_image
from tag2mask.segmentation import Segmentation
from tag2mask.stages import evaluate
from tag2mask.stages.predict import Subject, predict_labels
from tag2mask.stages.predict import run as predict_images


def predict_files(
    model: Path | str,
    images: Sequence[Path | str],
    out: Path | str,
    changes: Mapping[str, Any] | None = None,
    *,
    runtime: Runtime | None = None,
) -> tuple[int, str]:
    """Write an index PNG for each image, and classes.json, into ``out``.

    Args:
        model: summary.json of a run (or its work folder), a segment folder, or
            OWNER/NAME on the Hugging Face hub.
        images: Files, or folders that are searched for images. An image keeps its
            path below the folder that was named.
        out: Images that have a label map there are left alone, so that a second call
            continues the first; it must hold no label maps of anything else.
        changes: Keys of the recipe's table ``predict``. A run's own protocol is the
            default; a segment folder's is one scale, no mirror, no CRF.
        runtime: Where to compute.

    Returns:
        How many images there are, and the protocol in words.

    Raises:
        DatasetError: If there is no image, two would share a label map, or ``out``
            holds label maps that another model or protocol made.
        ModelError: If ``model`` is neither.
        RecipeError: If a changed key is unknown or out of bounds.
    """
    out = Path(out)
    found = locate_segmenter(model)
    settings = predict_settings(found.protocol | dict(changes or {}))
    segmenter = segmenters.load_segmenter(found.folder)
    files = find_images(Path(image) for image in images)
    made_by = {
        "weights": file_digest(found.folder / segmenters.WEIGHTS),
        "predict": settings.told(),
    }
    claim_folder(out, made_by, files)
    write_json(out / CLASSES, list(segmenter.class_names))
    subjects = [Subject(name, path) for name, path in files.items()]
    predict_images(
        segmenter.network, subjects, settings, out, runtime=runtime or Runtime()
    )
    return len(subjects), protocol_in_words(settings)


def load_segmenter(model: Path | str) -> Segmenter:
    """Load a segmenter: whatever ``predict_files`` takes as its model.

    Raises:
        ModelError: If there is none, or its weights do not fit.
    """
    return segmenters.load_segmenter(locate_segmenter(model).folder)


def segment_image(
    model: Segmenter | Path | str,
    image: Path | str | UInt8[np.ndarray, "h w 3"],
    changes: Mapping[str, Any] | None = None,
    *,
    runtime: Runtime | None = None,
) -> Segmentation:
    """Return the class of each pixel of one image of any size.

    Args:
        model: What ``load_segmenter`` returned, to load it once for many images, or
            what ``predict_files`` takes.
        image: A file, or RGB pixels.
        changes: Keys of the recipe's table ``predict``. A run's own protocol is the
            default; anything else's is one scale, no mirror, no CRF.
        runtime: Where to compute.

    Raises:
        DatasetError: If the image cannot be read.
        ModelError: If there is no such model.
        RecipeError: If a changed key is unknown or out of bounds.
    """
    protocol: dict[str, Any] = {}
    if not isinstance(model, Segmenter):
        found = locate_segmenter(model)
        model, protocol = segmenters.load_segmenter(found.folder), found.protocol
    settings = predict_settings(protocol | dict(changes or {}))
    device = (runtime or Runtime()).device
    model.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = image if isinstance(image, np.ndarray) else read_image(Path(image))
    labels = predict_labels(model.network, torch.from_numpy(pixels), settings, device)
    return Segmentation(labels.numpy(), model.class_names, pixels)


def evaluate_folders(
    labels: Path,
    masks: Path,
    names: Path | None = None,
    out: Path | None = None,
    *,
    runtime: Runtime | None = None,
) -> dict[str, Any]:
    """Score the label maps of a folder against masks of the same names.

    Class names come from ``classes.json`` beside the label maps; without it the
    classes are the ids that occur.

    Args:
        labels: Folder of index PNGs.
        masks: Folder of ground-truth index PNGs, 255 = ignore.
        names: File of the images to score, one a line; none: every label map.
        out: Where the scores are written as JSON.
        runtime: How many threads.

    Returns:
        The scores, as in a run's score.json.

    Raises:
        DatasetError: If a mask or a label map is missing or of another size.
    """
    runtime = runtime or Runtime()
    listed = read_list(names) if names is not None else None
    truth = evaluate.open_folder(
        LabelFolder(labels), masks, listed, _class_names(labels), runtime
    )
    record = evaluate.score_labels(
        LabelFolder(labels), truth, config.Evaluate(), runtime=runtime
    )
    if out is not None:
        write_json(out, record)
    return record


def sweep_folders(
    scores: Path,
    masks: Path,
    names: Path | None = None,
    out: Path | None = None,
    *,
    runtime: Runtime | None = None,
) -> dict[str, Any]:
    """Score stored score maps at every background threshold, in one pass.

    A pixel is an object where its best score lies strictly above the threshold. Class
    names come from ``classes.json`` beside the maps, as in `evaluate_folders`.

    Args:
        scores: Folder of .npz files: activation maps of a run, or what a random walk
            made of them.
        masks: Folder of ground-truth index PNGs, 255 = ignore.
        names: File of the images to score, one a line; none: every score map.
        out: Where the result is written as JSON.
        runtime: How many threads.

    Returns:
        ``thresholds`` and ``miou`` there in percent, side by side; ``oracle``, the
        scores at the best threshold; ``num_images``; and ``protocol``, which says that
        the best one was chosen with the ground truth.

    Raises:
        DatasetError: If a mask or a score map is missing.
    """
    runtime = runtime or Runtime()
    found = CamFolder(scores)
    truth = evaluate.open_folder(
        found,
        masks,
        read_list(names) if names is not None else None,
        _class_names(scores),
        runtime,
    )
    scored = evaluate.score_cams(scores, truth, {}, runtime=runtime)
    record = {
        "thresholds": evaluate.list_thresholds(),
        "miou": scored["miou_by_threshold"],
        "oracle": scored["oracle"],
        "num_images": scored["num_images"],
        "protocol": {
            "crf": "none",
            "tags_at_test": True,
            "threshold_chosen": "oracle",
            "uses_truth": True,
        },
    }
    if out is not None:
        write_json(out, record)
    return record


def predict_settings(table: dict[str, Any]) -> config.Predict:
    """Check a recipe's table ``predict``, whoever wrote its keys.

    Raises:
        RecipeError: If a key is unknown or out of bounds.
    """
    try:
        return config.Predict.model_validate_json(json.dumps(table))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors()
        )
        raise RecipeError(f"images cannot be predicted so: {problems}") from None


def protocol_in_words(settings: config.Predict) -> str:
    """Say how images are predicted, in one line."""
    scales = ", ".join(f"{scale:g}" for scale in settings.scales)
    mirror = ", mirror" if settings.flip else ""
    presence = f", presence {settings.presence:g}" if settings.presence else ""
    return f"scales {scales}{mirror}{presence}, CRF {settings.crf}"


def read_list(names: Path) -> list[str]:
    """Return the lines of a file that are not empty.

    Raises:
        DatasetError: If it cannot be read, or names what leads out of a folder.
    """
    try:
        lines = names.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{names} cannot be read as a list: {error}") from None
    found = [line.strip() for line in lines if line.strip()]
    for name in found:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DatasetError(f"{names}: {name!r} is no image's name")
    return found


def _class_names(labels: Path) -> tuple[str, ...] | None:
    path = labels / CLASSES
    if not path.exists():
        return None
    names = read_json(path)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise DatasetError(f"{path}: expected a list of class names")
    return tuple(names)
