"""A full memory of the device, told with the knobs that need less of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tag2mask.errors import TrainingError


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
    except torch.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
        raise TrainingError(
            f"the device's memory is full ({reason}): {knobs}"
        ) from None
