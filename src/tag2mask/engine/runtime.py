"""What only changes the speed: the device, the workers, and how progress is shown."""

import ctypes
import os
import sys
from dataclasses import dataclass, field
from typing import Literal

import torch

from tag2mask.engine.progress import Progress
from tag2mask.errors import Tag2MaskError

_MALLOPT = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}
"""Parameters and values of glibc's mallopt(3): never map, never give back."""

DeviceChoice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Runtime:
    """How stages are carried out.

    Attributes:
        device: Where networks run.
        workers: Threads over images, and processes that load training batches.
        progress: Shows how far the work is.
        tensorboard: Whether training also writes TensorBoard logs.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: int = field(default_factory=lambda: default_workers())
    progress: Progress = field(default_factory=Progress)
    tensorboard: bool = False


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_device(choice: DeviceChoice) -> torch.device:
    """Return the device of a choice; ``auto`` is CUDA where there is one.

    Raises:
        Tag2MaskError: If CUDA is asked for and cannot be had.
    """
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise Tag2MaskError(
            "--device cuda: torch finds no CUDA device; use --device cpu, or install "
            "a torch build with CUDA"
        )
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def reuse_memory() -> None:
    """Keep freed memory for the next tensors instead of giving it to the system.

    glibc maps every large tensor anew and faults in each of its pages: a third of the
    time of training on a CPU (MobileNetV2, batch 16 of 256 px, batch norms not folded:
    92 -> 62 ms an image; ``benchmarks/training.py`` measures it anew). The process
    holds its peak of memory from then on; a program that minds does not call this. Does
    nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    for parameter, value in _MALLOPT.values():
        mallopt(parameter, value)
