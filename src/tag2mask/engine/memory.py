"""A full memory of the device, told with the knobs that need less of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tag2mask.errors import TrainingError

_FULL = (torch.OutOfMemoryError, MemoryError)
_CPU = "DefaultCPUAllocator: "
"""What torch's message on a CPU has, an error without a class of its own."""


@contextmanager
def explain_full_memory(knobs: str) -> Iterator[None]:
    """Turn torch's error of a full device into one that says what to change.

    Args:
        knobs: What to lower, as the message shall end.

    Raises:
        TrainingError: If the memory is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        _, is_cpu, rest = str(error).partition(_CPU)
        if not is_cpu and not isinstance(error, _FULL):
            raise
        reason = (rest or str(error) or "no more can be had").split(". ")[0]
        raise TrainingError(
            f"the device's memory is full ({reason}): {knobs}"
        ) from None
