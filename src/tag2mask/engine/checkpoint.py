"""The state of an unfinished training on disk."""

import copy
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from tag2mask.artifacts.files import whole_file
from tag2mask.engine.learner import Learner

CHECKPOINT = "checkpoint.pt"
_DAMAGED = (
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile, torch and the modules make of a damaged checkpoint."""


def resume(checkpoint: Path, learner: Learner, *, say: Callable[[str], None]) -> int:
    """Load a checkpoint into a learner and return the steps it has made.

    Without a checkpoint that is 0. A damaged one is told, deleted and changes nothing.
    """
    if not checkpoint.exists():
        return 0
    before = copy.deepcopy(_state(learner, 0))
    try:
        _refuse_altered(checkpoint)
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        return _load(saved, learner)
    except _DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        say(
            f"{checkpoint} is damaged ({reason}): this training begins again from its "
            f"start"
        )
        _load(before, learner)
        checkpoint.unlink()
        return 0


def save(checkpoint: Path, learner: Learner, step: int) -> None:
    """Write the state of a learner after a step, whole or not at all."""
    with whole_file(checkpoint) as scratch:
        try:
            torch.save(_state(learner, step), scratch)
        except RuntimeError as error:  # torch keeps the system's reason to itself
            reason = str(error).splitlines()[0]
            raise OSError(f"No space left on device, most likely ({reason})") from error


def _state(learner: Learner, step: int) -> dict[str, Any]:
    device = _device(learner)
    on_cuda = device.type == "cuda"
    return {
        "step": step,
        "model": learner.model.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": learner.schedule.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(device) if on_cuda else None,
    }


def _load(saved: Mapping[str, Any], learner: Learner) -> int:
    learner.model.load_state_dict(saved["model"])
    learner.optimizer.load_state_dict(saved["optimizer"])
    learner.schedule.load_state_dict(saved["schedule"])
    torch.set_rng_state(saved["rng"])
    device = _device(learner)
    if device.type == "cuda" and saved["cuda_rng"] is not None:
        torch.cuda.set_rng_state(saved["cuda_rng"], device)
    return int(saved["step"])


def _refuse_altered(checkpoint: Path) -> None:
    """Compare the checksums of a checkpoint, which torch writes and does not read."""
    with zipfile.ZipFile(checkpoint) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} is altered")


def _device(learner: Learner) -> torch.device:
    return next(learner.model.parameters()).device
