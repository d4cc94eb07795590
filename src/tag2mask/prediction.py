"""Predict images with a finished model, and score folders of label maps."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tag2mask import config
from tag2mask.artifacts.build import Artifact
from tag2mask.artifacts.cams import CamFolder
from tag2mask.artifacts.files import file_digest, read_json, write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.work import latest_summary
from tag2mask.data.images import image_files
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError, ModelError, RecipeError, Tag2MaskError
from tag2mask.models.segmenters import CARD, WEIGHTS, load_segmenter
from tag2mask.stages import evaluate
from tag2mask.stages.predict import Subject
from tag2mask.stages.predict import run as predict_images

CLASSES = "classes.json"
PROTOCOL = "predict.json"


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
        model: summary.json of a run (or its work folder), or a segment folder.
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
    folder, protocol = _find_model(Path(model))
    settings = _settings(protocol | dict(changes or {}))
    segmenter = load_segmenter(folder)
    subjects = _subjects([Path(image) for image in images])
    _claim(out, folder, settings, subjects)
    write_json(out / CLASSES, list(segmenter.class_names))
    predict_images(
        segmenter.network, subjects, settings, out, runtime=runtime or Runtime()
    )
    return len(subjects), _in_words(settings)


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
    truth = evaluate.open_folder(
        LabelFolder(labels), masks, _listed(names), _class_names(labels), runtime
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
        found, masks, _listed(names), _class_names(scores), runtime
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


def _find_model(model: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a segmenter, and the protocol that it was scored by."""
    if (model / CARD).exists():
        _refuse_damaged(model)
        return model, {}
    try:
        summary = latest_summary(model)
    except Tag2MaskError:
        raise ModelError(
            f"{model} is no model: expected summary.json of a run, its work folder, or "
            f"a segment folder with {CARD}"
        ) from None
    record = read_json(summary)
    try:
        folder, protocol = record["artifacts"]["segment"], record["recipe"]["predict"]
    except (TypeError, LookupError):
        raise ModelError(f"{summary} is no summary of a run") from None
    if folder is None:
        raise ModelError(
            f"{summary}: this run has no segmenter yet; run its recipe to its end"
        )
    found = (summary.parent / folder).resolve()
    _refuse_damaged(found)
    return found, protocol


def _refuse_damaged(model: Path) -> None:
    """Compare a segmenter with its digests, if it is an artifact and no copy of one."""
    artifact = Artifact(model.resolve())
    if artifact.state == "finished":
        artifact.require_whole()


def _settings(table: dict[str, Any]) -> config.Predict:
    try:
        return config.Predict.model_validate_json(json.dumps(table))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors()
        )
        raise RecipeError(f"images cannot be predicted so: {problems}") from None


def _in_words(settings: config.Predict) -> str:
    scales = ", ".join(f"{scale:g}" for scale in settings.scales)
    mirror = ", mirror" if settings.flip else ""
    return f"scales {scales}{mirror}, CRF {settings.crf}"


def _claim(
    out: Path, folder: Path, settings: config.Predict, subjects: Sequence[Subject]
) -> None:
    """Note in ``out`` whose label maps it holds, and drop those of changed images."""
    made_by = {
        "weights": file_digest(folder / WEIGHTS),
        "predict": settings.model_dump(mode="json"),
    }
    labels, path = LabelFolder(out), out / PROTOCOL
    before = read_json(path) if path.exists() else {"images": {}}
    if made_by | {"images": before.get("images")} != before and labels:
        raise DatasetError(
            f"{out} holds label maps that another model, protocol or program made; "
            f"choose another folder, or delete it"
        )
    images = before.get("images") or {}
    for subject in subjects:
        identity = _identity(subject)
        if images.get(subject.name) != identity:
            labels.path(subject.name).unlink(missing_ok=True)
        images[subject.name] = identity
    write_json(path, made_by | {"images": images})


def _identity(subject: Subject) -> list[str | int]:
    """Return what changes when an image does."""
    status = subject.path.stat()
    return [str(subject.path.resolve()), status.st_size, status.st_mtime_ns]


def _subjects(images: Sequence[Path]) -> list[Subject]:
    found: dict[str, Path] = {}
    for path in images:
        if path.is_dir():
            below = [
                (name, file)
                for name, files in image_files(path).items()
                for file in files
            ]
        elif path.is_file():
            below = [(path.stem, path)]
        else:
            raise DatasetError(f"there is no image or folder {path}")
        for name, file in below:
            if name in found:
                raise DatasetError(
                    f"{found[name]} and {file} would share the label map {name}.png; "
                    f"predict them into folders of their own"
                )
            found[name] = file
    if not found:
        raise DatasetError(f"no image in {', '.join(map(str, images))}")
    return [Subject(name, found[name]) for name in sorted(found)]


def _listed(names: Path | None) -> list[str] | None:
    if names is None:
        return None
    try:
        lines = names.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{names} cannot be read as a list: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _class_names(labels: Path) -> tuple[str, ...] | None:
    path = labels / CLASSES
    return tuple(read_json(path)) if path.exists() else None
