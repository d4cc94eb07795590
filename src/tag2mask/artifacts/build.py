"""Folders that say how they came to be."""

import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

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
from tag2mask.errors import ArtifactError

MANIFEST = "manifest.json"
DIGESTS = "files.sha256"
WORK_VERSION = 1
"""Raise it when artifacts of older versions can no longer be read."""

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
        record: Mapping[str, Any] = read_json(self.folder / MANIFEST)
        if not isinstance(record, dict) or "work_version" not in record:
            raise ArtifactError(
                f"{self.folder / MANIFEST} is no manifest of tag2mask; delete its "
                f"folder to have it made again, or choose another --work folder"
            )
        if record["work_version"] > WORK_VERSION:
            raise ArtifactError(
                f"{self.folder} was written by a newer tag2mask (work version "
                f"{record['work_version']}, this one reads {WORK_VERSION}): upgrade "
                f"tag2mask or choose another --work folder"
            )
        return record

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
        listing = self.folder / DIGESTS
        if not listing.exists() or file_digest(listing) != self.manifest["files"]:
            return [f"{listing} is missing or altered"]
        found = []
        recorded = read_digests(listing)
        for name, value in recorded.items():
            path = self.folder / name
            if not path.is_file():
                found.append(f"{path} is missing")
            elif file_digest(path) != value:
                found.append(f"{path} is not the file that its stage wrote")
        own = {listing, self.folder / MANIFEST}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            is_other = path in own or is_scratch(path) or not path.is_file()
            if name not in recorded and not is_other:
                found.append(f"{path} was added after its stage finished")
        return found

    def discard(self) -> None:
        """Delete the folder, so that the next run makes it again."""
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
    work: Path, request: Request, make: Callable[[Path], None], *, device: str = "cpu"
) -> Artifact:
    """Return the artifact of a request, making it unless it is already finished.

    ``make`` may find files of an interrupted attempt in the folder; each is whole,
    so it need only add what is missing. The manifest is written last; ``device`` is
    where the stage computes, for the record.

    Raises:
        ArtifactError: If the folder cannot be written, or was finished by a newer
            version.
    """
    artifact = request.artifact(work)
    if artifact.state == "finished":
        _ = artifact.manifest  # refuses what a newer version wrote
        return artifact
    try:
        artifact.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"cannot make {artifact.folder}: {error.strerror}; choose another --work "
            f"folder"
        ) from None
    begun = time.perf_counter()
    make(artifact.folder)
    seconds = time.perf_counter() - begun
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
        "seconds": round(seconds, 3),
        "environment": environment() | {"device": device},
        "files": file_digest(listing),
    }
    write_json(artifact.folder / MANIFEST, record)
    return artifact


@cache
def environment() -> dict[str, str]:
    """Return the versions that a number may depend on; recorded, never hashed."""
    names = ("tag2mask", "torch", "timm", "numpy", "numba", "pillow")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "unknown"
    return found | {"commit": _commit()}


def _commit() -> str:
    """Return the commit of the checkout that runs, ``none`` if it is installed."""
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return "none"
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or not our checkout
        return "none"
    return done.stdout.strip()
