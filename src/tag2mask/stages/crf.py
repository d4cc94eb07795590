"""The dense CRF on folders: stored activation maps, or label maps, and their images."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tag2mask import config
from tag2mask.artifacts.cams import STRIDE, Cams, read_cams
from tag2mask.artifacts.files import is_scratch, read_json, write_json
from tag2mask.artifacts.labels import LabelFolder, read_index_png, write_labels
from tag2mask.data.images import image_files, read_image
from tag2mask.engine.map_images import for_each_image, map_images
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.functional.seeding import alpha_of_threshold
from tag2mask.functional.thresholds import otsu_threshold
from tag2mask.stages.seed import LESS_MEMORY, seed_labels
from tag2mask.stages.smoothing import smooth_labels

Preset = Literal["seeds", "irnet", "deeplab"]
RECORD = "crf.json"
CERTAINTY = 0.7
"""Of a hard label, as PSA and IRNet have it."""
_NUM_BINS = 200


class CrfChoices(NamedTuple):
    """How the CRF is run.

    Attributes:
        preset: Knobs of the CRF.
        shrink: It sees images this many times smaller.
        background: Constant background score of activation maps, between 0 and 1; none
            finds it from the maps, as ``seed.alpha = "otsu"`` does.
    """

    preset: Preset = "seeds"
    shrink: Literal[1, 2, 4] = 1
    background: float | None = None


class _Pair(NamedTuple):
    """What is known of an image, and the image."""

    name: str
    stored: Path
    image: Path

    @property
    def is_labels(self) -> bool:
        return self.stored.suffix == ".png"


def run(
    scores: Path, images: Path, out: Path, choices: CrfChoices, *, runtime: Runtime
) -> int:
    """Write OUT/NAME.png for every NAME.npz or NAME.png of a folder.

    Maps that are newer than both of their inputs are left alone, so that the same call
    continues where it was stopped.

    Args:
        scores: Activation maps as the stage cam writes them, or index PNGs, whose
            labels count with a certainty of 0.7; pixels of 255 take any label that
            occurs in their image.
        images: Folder of images of the same names.
        out: Where the label maps go, and crf.json, which tells how they were made.
        choices: How the CRF is run.
        runtime: How many threads, and where the CRF runs.

    Returns:
        How many label maps there are.

    Raises:
        DatasetError: If a file has no image or another size than its image has, there
            is none, or ``out`` holds label maps that were made otherwise.
        ArtifactError: If a file cannot be read.
    """
    pairs = _pairs(scores, images)
    settings = _seeding(pairs, choices, runtime)
    made_by = {"scores": str(scores.resolve()), "alpha": settings.alpha}
    _claim(out, made_by | choices._asdict())
    labels = LabelFolder(out)

    def label(pair: _Pair) -> None:
        pixels = torch.from_numpy(read_image(pair.image))
        with explain_full_memory(LESS_MEMORY):
            if pair.is_labels:
                stored = _read_labels(pair, pixels)
                found = smooth_labels(
                    stored,
                    pixels,
                    preset=choices.preset,
                    certainty=CERTAINTY,
                    shrink=choices.shrink,
                    device=runtime.device,
                )
            else:
                cams = _read_cams(scores, pair, pixels)
                found = seed_labels(cams, pixels, settings, runtime.device)
        write_labels(out, pair.name, found)

    missing = [pair for pair in pairs if not _is_done(labels.path(pair.name), pair)]
    for_each_image(label, missing, runtime=runtime, title="crf")
    return len(pairs)


def _pairs(scores: Path, images: Path) -> list[_Pair]:
    found = image_files(images)
    stored = sorted(
        path
        for path in scores.rglob("*")
        if path.suffix in (".npz", ".png") and not is_scratch(path)
    )
    if not stored:
        raise DatasetError(
            f"{scores} holds no activation maps (npz) and no label maps (png)"
        )
    pairs: dict[str, _Pair] = {}
    for path in stored:
        name = path.relative_to(scores).with_suffix("").as_posix()
        if name in pairs:
            raise DatasetError(
                f"{pairs[name].stored} and {path} would share the label map "
                f"{name}.png; keep the one that counts"
            )
        match found.get(name, []):
            case [image]:
                pairs[name] = _Pair(name, path, image)
            case []:
                raise DatasetError(f"{path}: there is no image {name} in {images}")
            case several:
                raise DatasetError(
                    f"{path} has several images: {', '.join(map(str, several))}; "
                    f"keep the one that it was made from"
                )
    return list(pairs.values())


def _seeding(
    pairs: Iterable[_Pair], choices: CrfChoices, runtime: Runtime
) -> config.Seeding:
    """Return settings of seeds; without a background score, find one in the maps."""
    settings = config.Seeding(crf=choices.preset, crf_shrink=choices.shrink)
    if choices.background is not None:
        change = {"alpha": None, "background": choices.background}
        return settings.model_copy(update=change)

    def count(pair: _Pair) -> np.ndarray:
        cams = read_cams(pair.stored.parent, pair.stored.stem)
        if not cams.class_ids:
            return np.zeros(_NUM_BINS, np.int64)
        return np.histogram(cams.maps.amax(dim=0).numpy(), _NUM_BINS, (0, 1))[0]

    maps = [pair for pair in pairs if not pair.is_labels]
    total = np.zeros(_NUM_BINS, np.int64)
    for each in map_images(count, maps, runtime=runtime, title="threshold"):
        total += each
    alpha = alpha_of_threshold(otsu_threshold(total))
    return settings.model_copy(update={"alpha": alpha})


def _claim(out: Path, made_by: Mapping[str, object]) -> None:
    """Note in ``out`` how its label maps are made, and refuse to mix them."""
    record = out / RECORD
    before = read_json(record) if record.exists() else None
    if before != made_by and LabelFolder(out):
        raise DatasetError(
            f"{out} holds label maps that were made otherwise; choose another folder, "
            f"or delete it"
        )
    write_json(record, made_by)


def _is_done(path: Path, pair: _Pair) -> bool:
    if not path.exists():
        return False
    newest = max(pair.stored.stat().st_mtime_ns, pair.image.stat().st_mtime_ns)
    return path.stat().st_mtime_ns >= newest


def _read_cams(folder: Path, pair: _Pair, image: UInt8[Tensor, "h w 3"]) -> Cams:
    cams = read_cams(folder, pair.name)
    expected = tuple(-(-side // STRIDE) for side in image.shape[:2])
    if cams.class_ids and tuple(cams.maps.shape[1:]) != expected:
        raise DatasetError(
            f"{pair.stored} holds maps of {_size(cams.maps)} pixels, but those of "
            f"{pair.image} ({image.shape[1]}x{image.shape[0]}) have "
            f"{expected[1]}x{expected[0]}; it belongs to another image"
        )
    return cams


def _read_labels(pair: _Pair, image: UInt8[Tensor, "h w 3"]) -> UInt8[Tensor, "h w"]:
    labels = torch.from_numpy(read_index_png(pair.stored))
    if labels.shape != image.shape[:2]:
        raise DatasetError(
            f"{pair.stored} has {_size(labels)} pixels, but {pair.image} has "
            f"{image.shape[1]}x{image.shape[0]}; it belongs to another image"
        )
    return labels


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-1]}x{maps.shape[-2]}"
