"""Layout ``label_studio``: an image folder, and choices exported as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tag2mask.data.label_studio_file import possible_files, read_tasks, results_of
from tag2mask.data.layouts.listing import (
    Collection,
    Listed,
    Listing,
    Photographs,
    RowError,
    name_classes,
)


def list_label_studio(
    root: Path,
    *,
    images: str,
    tags: str,
    field: str,
    control: str,
    classes: str | Sequence[str] | None,
) -> Listing:
    """List the tasks of an export that somebody has annotated.

    An image has every tag that one of its annotators chose; skipped annotations do
    not count. A task without annotation is left out: nobody has said that it shows
    nothing. The split is ``split`` of a task's data, ``train`` where it has none.

    Args:
        root: Folder of the data set.
        images: Folder of the images below it. An image is found by as much of the end
            of its address as is a path there, or as it was called when uploaded.
        tags: The export, as JSON.
        field: Key of a task's data that holds the address.
        control: Name of the ``<Choices>`` to read; "": all of them.
        classes: A file of names, the names, or None: the tags found, sorted.

    Raises:
        DatasetError: If root, image folder, export or class file are missing or
            unreadable. All else that is wrong is in the listing.
    """
    source = root / tags
    photographs = Photographs(root, images)
    found = Collection()
    num_open = 0
    for number, task in enumerate(read_tasks(source), start=1):
        results = results_of(task)
        if not results:
            num_open += 1
            continue
        try:
            place = f", task {task.get('id', number)}"
            listed = _find(photographs, task["data"], field, place)
        except RowError as problem:
            found.problems.append(f"{source}{problem}")
            continue
        chosen = [each for rows in results for each in _choices(rows, control)]
        found.add(listed._replace(tags=tuple(dict.fromkeys(chosen))), source)
    class_names, wrong = name_classes(root, source, classes, found.images)
    notes = list(photographs.left_out(found, source))
    if num_open:
        notes.append(f"{num_open} tasks have no annotation: left out")
    return Listing(found.images, class_names, (*found.problems, *wrong), tuple(notes))


def _find(
    photographs: Photographs, data: Mapping[str, Any], field: str, place: str
) -> Listed:
    address, split = data.get(field), data.get("split", "train")
    if not isinstance(address, str) or not address:
        keys = ", ".join(map(repr, data)) or "none"
        raise RowError(
            f"{place}: no address of an image in {field!r}, there are {keys}"
        )
    if not isinstance(split, str):
        raise RowError(f"{place}: the split must be a name")
    for file in possible_files(address):
        try:
            return photographs.find(file, (), split)
        except RowError:
            continue
    raise RowError(f"{place}: image {address!r} has no file in {photographs.folder}")


def _choices(results: Sequence[Mapping[str, Any]], control: str) -> Iterator[str]:
    for each in results:
        if each.get("type") != "choices" or control not in ("", each.get("from_name")):
            continue
        value = each.get("value")
        chosen = value.get("choices") if isinstance(value, dict) else None
        for name in chosen if isinstance(chosen, list) else ():
            if isinstance(name, str) and name.strip():
                yield name.strip()
