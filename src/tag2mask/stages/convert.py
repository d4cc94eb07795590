"""Convert masks of published data sets and of other tools to index PNGs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from tag2mask.artifacts.claim import CLASSES
from tag2mask.artifacts.files import write_json
from tag2mask.artifacts.labels import write_labels
from tag2mask.data.classes import read_class_names, with_background
from tag2mask.data.coco_masks import CocoMasks
from tag2mask.data.label_studio_file import (
    IGNORED,
    draw_regions,
    read_tasks,
    results_of,
    task_name,
    task_size,
)
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.functional.shapes import IGNORE


def write_coco_masks(instances: Path, out: Path, *, runtime: Runtime) -> int:
    """Write an index PNG for each image of an annotation file of COCO.

    Ids are those of layout ``coco``: the categories by ascending id, from 1.

    Returns:
        How many images there are.

    Raises:
        DatasetError: Naming every annotation that cannot be drawn; the masks of all
            other images are written.
    """
    masks = CocoMasks(instances)

    def write(image: Mapping[str, Any]) -> str:
        try:
            labels = torch.from_numpy(masks.draw(image))
        except DatasetError as error:
            return str(error)
        name = Path(image["file_name"]).with_suffix("").as_posix()
        write_labels(out, name, labels)
        return ""

    _refuse(map_images(write, masks.images, runtime=runtime, title="masks"))
    return len(masks.images)


def write_label_studio_masks(
    export: Path, classes: Path, out: Path, *, runtime: Runtime
) -> int:
    """Write an index PNG for each annotated task of an export, and classes.json.

    The newest annotation of a task counts, and in it later regions cover earlier
    ones. The label "ignored" is 255. Tasks without annotation are left out.

    Args:
        export: Label Studio's JSON.
        classes: Class names, one a line, in the order of their ids.
        out: Folder of the masks: OUT/NAME.png, NAME being ``name`` of the task's data
            or else the name of its image.
        runtime: How many threads.

    Returns:
        How many masks there are.

    Raises:
        DatasetError: Naming every task that cannot be drawn; the masks of all others
            are written.
    """
    names = with_background(read_class_names(classes), source=str(classes))
    ids = {name: number for number, name in enumerate(names)} | {IGNORED: IGNORE}
    tasks = [task for task in read_tasks(export) if results_of(task)]

    def write(task: Mapping[str, Any]) -> str:
        try:
            labels = draw_regions(results_of(task)[-1], ids, size=task_size(task))
            write_labels(out, task_name(task), torch.from_numpy(labels))
        except ValueError as error:
            return f"{export}: task {task.get('id')}: {error}"
        return ""

    _refuse(map_images(write, tasks, runtime=runtime, title="masks"))
    write_json(out / CLASSES, list(names))
    return len(tasks)


def _refuse(told: Iterable[str]) -> None:
    problems = [problem for problem in told if problem]
    if problems:
        lines = [f"{len(problems)} masks are not written:", *problems]
        raise DatasetError("\n  ".join(lines))
