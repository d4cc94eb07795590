"""The label maps that are exported, and what belongs to them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from tag2mask.artifacts.claim import CLASSES
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.artifacts.work import RUNS, SUMMARY, latest_summary
from tag2mask.data.classes import read_class_names, with_background
from tag2mask.data.label_studio_file import IGNORED
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError, DatasetError
from tag2mask.functional.shapes import IGNORE
from tag2mask.pictures import image_files
from tag2mask.prediction import read_list
from tag2mask.segmentation import Colour, class_colours

DEFAULT_SPLIT = "train"


class Photograph(NamedTuple):
    """The image of a label map.

    Attributes:
        file: Its path as other tools are told, such as ``images/a.jpg``.
        path: Where it is; None if nobody said.
        split: ``train`` or ``val``.
    """

    file: str
    path: Path | None
    split: str


class Content(NamedTuple):
    """What is in a label map.

    Attributes:
        height: Pixels.
        width: Pixels.
        ids: Ascending, 255 included.
    """

    height: int
    width: int
    ids: tuple[int, ...]


class LabelMaps(NamedTuple):
    """Label maps to export.

    Attributes:
        labels: Reads them by name.
        photographs: By name, sorted: one for each label map to export.
        class_names: By id, background first.
        contents: By name.
    """

    labels: LabelFolder
    photographs: Mapping[str, Photograph]
    class_names: tuple[str, ...]
    contents: Mapping[str, Content]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the label maps, sorted."""
        return tuple(self.photographs)

    @property
    def num_ignored(self) -> int:
        """How many label maps have unlabelled pixels."""
        return sum(IGNORE in each.ids for each in self.contents.values())

    def read(self, name: str) -> UInt8[np.ndarray, "h w"]:
        """Return a label map."""
        found: np.ndarray = self.labels[name].numpy()
        return found

    def label_names(self) -> dict[int, str]:
        """Return the name of each id, 255 included if a label map has it."""
        names = dict(enumerate(self.class_names))
        return names | ({IGNORE: IGNORED} if self.num_ignored else {})

    def colours(self) -> dict[int, Colour]:
        """Return the colour of each id of ``label_names``."""
        every = class_colours(IGNORE + 1)
        return {number: every[number] for number in self.label_names()}


class Source(NamedTuple):
    """What a user names.

    Attributes:
        labels: Folder of index PNGs, summary.json of a run, its folder, or a work
            folder: then its newest run.
        subject: Of a run: ``vote``, ``vote_refine``, ``relabel``, or the name of
            predictions.
        names: File of the images to export, one a line; None: every label map.
        images: Folder of the photographs; None: those of the run, if it is one.
        classes: File of class names; None: those of the run or of ``classes.json``.
    """

    labels: Path
    subject: str = "vote"
    names: Path | None = None
    images: Path | None = None
    classes: Path | None = None


def open_maps(source: Source, *, runtime: Runtime) -> LabelMaps:
    """Find label maps, their photographs and classes, and read each once.

    Raises:
        ArtifactError: If one is missing or damaged.
        DatasetError: If there is none, or it holds an id that is no class, or the
            classes are not known.
    """
    labels, photographs, class_names = _find(source)
    if source.images is not None:
        photographs = _photographs_below(source.images)
    names = read_list(source.names) if source.names else list(labels)
    if not names:
        raise DatasetError(f"{source.labels}: there is no label map to export")
    if source.classes is not None:
        class_names = with_background(
            read_class_names(source.classes), source=str(source.classes)
        )
    unknown = {
        name: Photograph(f"{name}.jpg", None, DEFAULT_SPLIT) for name in sorted(names)
    }
    maps = LabelMaps(
        labels,
        {name: photographs.get(name, each) for name, each in unknown.items()},
        class_names,
        {},
    )
    return maps._replace(contents=dict(_contents(maps, runtime)))


def _contents(maps: LabelMaps, runtime: Runtime) -> Iterator[tuple[str, Content]]:
    def look(name: str) -> Content:
        labels = maps.read(name)
        ids = tuple(np.unique(labels).tolist())
        unknown = [n for n in ids if n >= len(maps.class_names) and n != IGNORE]
        if unknown:
            raise DatasetError(
                f"{maps.labels.path(name)}: class id {unknown[0]} has no name; there "
                f"are {len(maps.class_names)}, background included: name all in "
                f"--classes"
            )
        if IGNORE in ids and IGNORED in maps.class_names:
            raise DatasetError(
                f"{maps.labels.path(name)} holds unlabelled pixels, and they cannot be "
                f"told from the class {IGNORED!r}: call the class otherwise"
            )
        height, width = labels.shape
        return Content(height, width, ids)

    found = map_images(look, maps.names, runtime=runtime, title="read")
    yield from zip(maps.names, found, strict=True)


_Found = tuple[LabelFolder, dict[str, Photograph], tuple[str, ...]]


def _find(source: Source) -> _Found:
    folder = source.labels
    if (folder / RUNS).is_dir() or (folder / SUMMARY).is_file():
        source = source._replace(labels=latest_summary(folder))
    return _of_run(source) if source.labels.is_file() else _of_folder(source)


def _of_folder(source: Source) -> _Found:
    if not source.labels.is_dir():
        raise DatasetError(
            f"there is no folder {source.labels}: expected one of index PNGs, or "
            f"summary.json of a run"
        )
    classes = source.labels / CLASSES
    if source.classes is None and not classes.exists():
        raise DatasetError(
            f"{source.labels} does not say what its ids mean: give --classes FILE, a "
            f"name a line without background"
        )
    class_names = tuple(read_json(classes)) if source.classes is None else ()
    return LabelFolder(source.labels), {}, class_names


def _of_run(source: Source) -> _Found:
    record, folder = read_json(source.labels), source.labels.parent
    try:
        made: Mapping[str, Any] = record["artifacts"]
        roles = ("vote", "vote_refine", "relabel")
        found = {role: made.get(role) for role in roles} | made["predict"]
        index = Index(folder / made["index"], Path(record["recipe"]["data"]["root"]))
    except (TypeError, LookupError):
        raise ArtifactError(f"{source.labels} is no summary of a run") from None
    subjects = {name: path for name, path in found.items() if path is not None}
    if source.subject not in subjects:
        raise ArtifactError(
            f"{source.labels} has no label maps {source.subject!r}; there are "
            f"{', '.join(subjects) or 'none'}"
        )
    photographs = {
        image.name: Photograph(image.file, index.path(image), image.split)
        for image in index.images
    }
    labels = LabelFolder((folder / subjects[source.subject] / "labels").resolve())
    return labels, photographs, index.class_names


def _photographs_below(folder: Path) -> dict[str, Photograph]:
    if not folder.is_dir():
        raise DatasetError(f"there is no image folder {folder}; check --images")
    return {
        name: Photograph(
            files[0].relative_to(folder).as_posix(), files[0], DEFAULT_SPLIT
        )
        for name, files in image_files(folder).items()
    }
