"""Label maps in the format of another tool, read back before they count as written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from jaxtyping import UInt8

from tag2mask.data.label_studio_file import IGNORED
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError, DatasetError
from tag2mask.export import coco, cvat, index_png, label_studio, voc, yolo
from tag2mask.export.label_maps import LabelMaps, Source, open_maps

Format = Literal["index", "voc", "coco", "cvat", "label-studio", "yolo"]

_Reader = Callable[[str], UInt8[np.ndarray, "h w"]]
_Write = Callable[[LabelMaps, Path, Runtime], None]
_Open = Callable[[Path], _Reader]


def export_masks(
    source: Source,
    out: Path,
    format: Format,
    *,
    address: str = label_studio.LOCAL_FILES,
    runtime: Runtime | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Write label maps in a format, and read each of them back.

    Args:
        source: Which label maps.
        out: Folder that is empty or not there.
        format: Of ``index`` and ``voc`` 255 is unlabelled, as it is in ``yolo``;
            ``coco``, ``cvat`` and ``label-studio`` get a label "ignored" for those
            pixels, and ``voc`` a colour of that name, if there are any.
        address: Of ``label-studio``: what precedes a photograph's file.
        runtime: How many threads.

    Returns:
        How many label maps there are, and what a user should know.

    Raises:
        ArtifactError: If a label map is missing, damaged or not read back as it was.
        DatasetError: If there is nothing to export, its classes are not known, ``out``
            holds files, or a library is missing.
    """
    runtime = runtime or Runtime()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} is not empty; choose another folder, or delete it")
    maps = open_maps(source, runtime=runtime)
    write, open_back = _find_format(format, maps, address)
    write(maps, out, runtime)
    _refuse_changed(maps, open_back(out), out, runtime)
    return len(maps.names), tuple(_notes(maps, format))


def _find_format(format: Format, maps: LabelMaps, address: str) -> tuple[_Write, _Open]:
    """Return what writes a format, and what opens it again."""
    match format:
        case "index":
            return index_png.write_index_pngs, index_png.open_index_pngs
        case "voc":
            return voc.write_voc, voc.open_voc
        case "cvat":
            return cvat.write_cvat, cvat.open_cvat
        case "coco":
            return coco.write_coco, partial(coco.open_coco, maps=maps)
        case "label-studio":
            write = partial(label_studio.write_label_studio, address=address)
            return write, partial(label_studio.open_label_studio, maps=maps)
        case "yolo":
            return yolo.write_yolo, partial(yolo.open_yolo, maps=maps)
        case _:
            assert_never(format)


def _refuse_changed(
    maps: LabelMaps, read: _Reader, out: Path, runtime: Runtime
) -> None:
    def is_equal(name: str) -> bool:
        return np.array_equal(read(name), maps.read(name))

    equal = map_images(is_equal, maps.names, runtime=runtime, title="read back")
    wrong = [name for name, same in zip(maps.names, equal, strict=True) if not same]
    if wrong:
        raise ArtifactError(
            f"{len(wrong)} label maps in {out} are read back otherwise than they were "
            f"({', '.join(wrong[:3])}); do not use them"
        )


def _notes(maps: LabelMaps, format: Format) -> list[str]:
    notes = []
    unknown = sum(each.path is None for each in maps.photographs.values())
    if unknown and format in ("coco", "label-studio"):
        notes.append(
            f"the photographs of {unknown} label maps are not known, so that their "
            f"files are called NAME.jpg; name their folder by --images"
        )
    if unknown and format == "yolo":
        notes.append(
            f"the photographs of {unknown} label maps are not known: copy them into "
            f"images/, or name their folder by --images"
        )
    if not maps.num_ignored:
        return notes
    kept = f"{maps.num_ignored} label maps have unlabelled pixels: "
    match format:
        case "index" | "yolo":
            notes.append(f"{kept}they are 255, which is ignored")
        case "voc":
            notes.append(f"{kept}they are 255, in {voc.LABEL_MAP} {IGNORED!r}")
        case "coco" | "cvat" | "label-studio":
            notes.append(
                f"{kept}they have the label {IGNORED!r}, since without one they would "
                f"be background there; leave it out of training"
            )
        case _:
            assert_never(format)
    return notes
