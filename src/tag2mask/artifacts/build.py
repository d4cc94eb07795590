"""Folders that say how they came to be."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tag2mask.artifacts.environment import environment
from tag2mask.artifacts.files import (
    clear_scratch,
    digest,
    file_digest,
    is_scratch,
    read_digests,
    read_json,
    write_digests,
    write_json,
)
from tag2mask.artifacts.lock import locked
from tag2mask.errors import ArtifactError

MANIFEST = "manifest.json"
DIGESTS = "files.sha256"
WORK_VERSION = 1
"""Raise it when artifacts of older versions can no longer be read."""
_NEEDED = {"work_version", "uses_truth", "seconds", "environment", "files"}

State = Literal["finished", "interrupted", "to do"]


@dataclass(frozen=True)
class Artifact:
    """A folder named by the key of the request that makes it."""

    folder: Path

    @property
    def key(self) -> str:
        """Digest of stage, version, settings and input keys."""
        return self.folder.name

    @property
    def stage(self) -> str:
        """Name of the stage that makes it."""
        return self.folder.parent.name

    @property
    def state(self) -> State:
        """Whether it is finished, was begun, or has yet to be made."""
        if (self.folder / MANIFEST).exists():
            return "finished"
        return "interrupted" if self.folder.exists() else "to do"

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """Return the record that the stage left when it finished.

        Raises:
            ArtifactError: If the artifact is not finished, is of a newer version, or
                its manifest is none of ours.
        """
        if self.state != "finished":
            raise ArtifactError(
                f"{self.folder} is not finished: run its recipe again to finish it"
            )
        record = self._record()
        if record is None:
            raise ArtifactError(
                f"{self.folder / MANIFEST} is no manifest of tag2mask, or damaged; "
                f"delete {self.folder} to have it made again, or choose another --work "
                f"folder"
            )
        if record["work_version"] > WORK_VERSION:
            raise ArtifactError(
                f"{self.folder} was written by a newer tag2mask (work version "
                f"{record['work_version']}, this one reads {WORK_VERSION}): upgrade "
                f"tag2mask or choose another --work folder"
            )
        return record

    def _record(self) -> Mapping[str, Any] | None:
        """Return the manifest, None if it is none of ours."""
        try:
            record = read_json(self.folder / MANIFEST)
        except ArtifactError:
            return None
        if not isinstance(record, dict):
            return None
        version = record.get("work_version")
        is_ours = isinstance(version, int) and (
            version > WORK_VERSION or set(record) >= _NEEDED
        )
        return record if is_ours else None

    @property
    def uses_truth(self) -> bool:
        """Whether a ground-truth mask took part in making it, however far back."""
        return bool(self.manifest["uses_truth"])

    def problems(self) -> list[str]:
        """Compare every file with its recorded SHA-256.

        Returns:
            One line for each file that is missing, altered or was added; none if the
            artifact is as its stage left it.
        """
        return self.damage() + self.additions()

    def damage(self) -> list[str]:
        """Return one line for each file that is missing or altered."""
        listing = self.folder / DIGESTS
        if self._record() is None:
            return [f"{self.folder / MANIFEST} is missing or damaged"]
        recorded = self._recorded()
        if recorded is None:
            return [f"{listing} is missing or altered"]
        found = []
        for name, value in recorded.items():
            path = self.folder / name
            if not path.is_file():
                found.append(f"{path} is missing")
            elif _digest_or_none(path) != value:
                found.append(f"{path} is not the file that its stage wrote")
        return found

    def additions(self) -> list[str]:
        """Return one line for each file that its stage did not write."""
        recorded = None if self._record() is None else self._recorded()
        if recorded is None:
            return []
        own = {self.folder / DIGESTS, self.folder / MANIFEST}
        return [
            f"{path} was added after its stage finished"
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not is_scratch(path) and path not in own
            if path.relative_to(self.folder).as_posix() not in recorded
        ]

    def _recorded(self) -> Mapping[str, str] | None:
        """Return the digest of each file by name, None if the listing is damaged."""
        listing = self.folder / DIGESTS
        if _digest_or_none(listing) != self.manifest["files"]:
            return None
        return read_digests(listing)

    def require_whole(self) -> None:
        """Refuse to be read if a file is not as its stage wrote it; looks once.

        Raises:
            ArtifactError: Naming the first such file and what to do.
        """
        if self._damage:
            more = len(self._damage) - 1
            others = f" and {more} more files" if more else ""
            raise ArtifactError(
                f"{self._damage[0]}{others}; run `tag2mask verify "
                f"{self.folder.parents[1]} --repair`, then the same command again"
            )

    @cached_property
    def _damage(self) -> list[str]:
        return self.damage()

    def discard(self) -> None:
        """Delete the folder, so that the next run makes it again.

        Raises:
            ArtifactError: If another process is making it.
        """
        with locked(self.folder):
            # without its manifest a folder half deleted counts as unfinished
            (self.folder / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Request:
    """What is asked of a stage: equal requests share one folder.

    Attributes:
        stage: Name of the stage.
        version: Version of the stage's code; raised when it comes to mean another
            output for the same settings.
        settings: JSON value of every knob that can change the output.
        inputs: The artifacts it reads, by role.
        uses_truth: Whether the stage itself reads ground-truth masks.
    """

    stage: str
    version: int
    settings: object
    inputs: Mapping[str, Artifact]
    uses_truth: bool = False

    @property
    def key(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the request."""
        inputs = {role: artifact.key for role, artifact in self.inputs.items()}
        return digest([self.stage, self.version, self.settings, inputs])

    def artifact(self, work: Path) -> Artifact:
        """Return the artifact of this request below ``work``, made or not."""
        return Artifact(work / self.stage / self.key)


def build(
    work: Path,
    request: Request,
    make: Callable[[Path], None],
    *,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """Return the artifact of a request, making it unless it is already finished.

    ``make`` may find files of an interrupted attempt in the folder; each is whole,
    so it need only add what is missing. The manifest is written last. Another process
    that makes the same artifact is waited for.

    Args:
        work: The work folder.
        request: What is asked for.
        make: Fills the folder that it is given.
        device: Where the stage computes, for the record.
        say: Is told that another process is waited for.

    Raises:
        ArtifactError: If the folder cannot be written, was finished by a newer
            version, or an input is damaged.
    """
    artifact = request.artifact(work)
    if _is_finished(artifact):
        return artifact
    try:
        artifact.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"cannot make {artifact.folder}: {error.strerror}; choose another --work "
            f"folder"
        ) from None
    with locked(artifact.folder, say=say):
        if _is_finished(artifact):  # by the process that was waited for
            return artifact
        artifact.folder.mkdir(exist_ok=True)
        is_resumed = any(artifact.folder.iterdir())
        for item in request.inputs.values():
            item.require_whole()
        begun = time.perf_counter()
        make(artifact.folder)
        took = _Took(time.perf_counter() - begun, is_resumed)
        _finish(artifact, request, took, device)
    return artifact


def _is_finished(artifact: Artifact) -> bool:
    """Whether it can be reused; refuses what a newer version wrote."""
    return artifact.state == "finished" and bool(artifact.manifest)


class _Took(NamedTuple):
    """How long the last attempt took, and whether there was one before it."""

    seconds: float
    is_resumed: bool


def _finish(artifact: Artifact, request: Request, took: _Took, device: str) -> None:
    listing = artifact.folder / DIGESTS
    listing.unlink(missing_ok=True)
    clear_scratch(artifact.folder)
    write_digests(artifact.folder, listing)
    inputs = request.inputs.values()
    record = {
        "work_version": WORK_VERSION,
        "stage": request.stage,
        "version": request.version,
        "settings": request.settings,
        "inputs": {role: item.key for role, item in request.inputs.items()},
        "uses_truth": request.uses_truth or any(item.uses_truth for item in inputs),
        "seconds": round(took.seconds, 3),
        "resumed": took.is_resumed,
        "environment": environment() | {"device": device},
        "files": file_digest(listing),
    }
    write_json(artifact.folder / MANIFEST, record)


def _digest_or_none(path: Path) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None
