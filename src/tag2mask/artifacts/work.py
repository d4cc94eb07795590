"""What is in a work folder, and what of it no run uses."""

import os
from collections.abc import Iterator
from pathlib import Path

from tag2mask.artifacts.build import MANIFEST, Artifact
from tag2mask.artifacts.files import KEY, read_json
from tag2mask.artifacts.lock import being_made
from tag2mask.errors import ArtifactError

SUMMARY = "summary.json"
RUNS = "runs"


def artifacts_below(work: Path) -> list[Artifact]:
    """Return the finished artifacts of a work folder, by stage and key.

    Raises:
        ArtifactError: If there is no such folder, or nothing finished in it.
    """
    found = [Artifact(path.parent) for path in sorted(work.glob(f"*/*/{MANIFEST}"))]
    if not found:
        raise ArtifactError(f"{work} holds no finished artifact; is it a work folder?")
    return found


def verify(work: Path, *, repair: bool = False) -> Iterator[str]:
    """Compare every file of every finished artifact with its recorded SHA-256.

    What was made from a damaged artifact is kept: a stage compares its inputs before
    it reads them, so that they were whole when it did. So is an artifact to which a
    file was added: no stage reads that file.

    Args:
        work: The work folder.
        repair: Delete damaged artifacts, for the next run to make again.

    Yields:
        A line for each file that is missing, altered or was added, then a summary.

    Raises:
        ArtifactError: If ``work`` is no work folder; if there are problems and they
            are not repaired; or if a process is making an artifact and they are.
    """
    if repair:
        _refuse_busy(work)
    every = artifacts_below(work)
    num_damaged, num_added, damaged = 0, 0, []
    for artifact in every:
        damage, additions = artifact.damage(), artifact.additions()
        yield from (*damage, *additions)
        num_damaged, num_added = num_damaged + len(damage), num_added + len(additions)
        if damage:
            damaged.append(artifact)
    if not damaged and not num_added:
        yield f"{len(every)} artifacts are as they were written"
        return
    if not damaged:
        raise ArtifactError(f"{num_added} files were added to artifacts: delete them")
    if not repair:
        raise ArtifactError(
            f"{num_damaged + num_added} files are not as they were written; `tag2mask "
            f"verify {work} --repair` deletes the {len(damaged)} artifacts that hold "
            f"damaged ones, then run the recipe again to have them made again"
        )
    for artifact in damaged:
        artifact.discard()
    yield (
        f"deleted {len(damaged)} of {len(every)} artifacts; run the recipe again to "
        f"have them made again"
    )


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
        ArtifactError: If ``work`` is no work folder, or a process is making an
            artifact in it: what it made before is in no summary yet.
    """
    _refuse_busy(work)
    finished = artifacts_below(work)
    summaries = (work / RUNS).glob(f"*/{SUMMARY}")
    used = {each for summary in summaries for each in _used_by(summary)}
    stages = {artifact.stage for artifact in finished}
    folders = (f for stage in sorted(stages) for f in sorted((work / stage).iterdir()))
    every = (Artifact(f) for f in folders if f.is_dir() and KEY.fullmatch(f.name))
    return [each for each in every if (each.stage, each.key) not in used]


def _used_by(summary: Path) -> list[tuple[str, str]]:
    """Return stage and key of the artifacts that a run names."""
    try:
        return [(row["stage"], row["key"]) for row in read_json(summary)["stages"]]
    except (TypeError, LookupError):
        raise ArtifactError(
            f"{summary} is no summary of a run; delete its folder"
        ) from None


def _refuse_busy(work: Path) -> None:
    if busy := being_made(work):
        raise ArtifactError(f"{busy}; nothing was deleted, try again when it has ended")


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)
