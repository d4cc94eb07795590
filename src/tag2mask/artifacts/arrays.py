"""Arrays of one image on disk: an npz without pickle, which cannot swell in memory."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What numpy and zipfile make of a damaged file."""
_MOST_BYTES = 2**30
"""Maps of all 254 classes at a quarter of the size of 33 million pixels."""


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open the arrays of an npz file, by their names.

    Raises:
        ValueError: If they say that they take more than a gigabyte: compressed, they
            could be of any size. Other errors, here or in reading, are ``DAMAGED``.
    """
    # numpy leaves a file open that it cannot read
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        size = sum(each.file_size for each in arrays.zip.infolist())
        if size > _MOST_BYTES:
            raise ValueError(f"its arrays take {size} bytes, at most {_MOST_BYTES}")
        yield arrays
