"""What is in a work folder, and what of it no run uses."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tag2mask.artifacts.build import MANIFEST, Artifact
from tag2mask.artifacts.files import read_json
from tag2mask.errors import ArtifactError

SUMMARY = "summary.json"
RUNS = "runs"
_KEY = re.compile("[0-9a-f]{12}")


def artifacts_below(work: Path) -> list[Artifact]:
    """Return the finished artifacts of a work folder, by stage and key.

    Raises:
        ArtifactError: If there is no such folder, or nothing finished in it.
    """
    found = [Artifact(path.parent) for path in sorted(work.glob(f"*/*/{MANIFEST}"))]
    if not found:
        raise ArtifactError(f"{work} holds no finished artifact; is it a work folder?")
    return found


def latest_summary(path: Path) -> Path:
    """Return a summary: the file itself, that of a run, or the newest of a work folder.

    Raises:
        ArtifactError: If there is none.
    """
    if path.is_file():
        return path
    found = [path / SUMMARY, *(path / RUNS).glob(f"*/{SUMMARY}")]
    found = [each for each in found if each.is_file()]
    if not found:
        raise ArtifactError(
            f"{path} holds no finished run: there is no {SUMMARY} in it"
        )
    return max(found, key=lambda each: each.stat().st_mtime)


def unused(work: Path) -> list[Artifact]:
    """Return the artifacts that no summary below ``work`` names.

    An unfinished one counts where its stage has finished another; a folder whose name
    is no key is never one.

    Raises:
        ArtifactError: If ``work`` is no work folder.
    """
    finished = artifacts_below(work)
    used = {
        (row["stage"], row["key"])
        for summary in (work / RUNS).glob(f"*/{SUMMARY}")
        for row in read_json(summary)["stages"]
    }
    stages = {artifact.stage for artifact in finished}
    folders = (f for stage in sorted(stages) for f in sorted((work / stage).iterdir()))
    every = (Artifact(f) for f in folders if f.is_dir() and _KEY.fullmatch(f.name))
    return [each for each in every if (each.stage, each.key) not in used]


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)
