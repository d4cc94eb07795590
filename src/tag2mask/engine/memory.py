"""A full memory of the device, told with the knobs that need less of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tag2mask.errors import TrainingError

_FULL = (torch.OutOfMemoryError, MemoryError)
_FULL_CPU = "DefaultCPUAllocator: can't allocate memory"
"""What torch says on a CPU, in an error that has no class of its own."""


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
        if not isinstance(error, _FULL) and _FULL_CPU not in str(error):
            raise
        reason = str(error).split(". ")[0]
        raise TrainingError(
            f"the device's memory is full ({reason}): {knobs}"
        ) from None
