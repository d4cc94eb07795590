"""Read ``cls_labels.npy``, the field's pickled label vectors, without running it.

A pickle is a program that may call anything. Here it can name stand-ins only, which
build plain arrays of numbers; whatever else it asks for is refused by name.
"""

import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from jaxtyping import Shaped

from tag2mask.errors import DatasetError

_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_FAULTS = (
    pickle.UnpicklingError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
)
"""What damaged pickles raise."""
_NUMBERING = ("PUT", "BINPUT", "LONG_BINPUT")
"""Opcodes that give an object a number in the memo."""


def read_label_vectors(path: Path) -> dict[str | int, Shaped[np.ndarray, "k"]]:
    """Read a dictionary from image name to label vector, as ``numpy.save`` wrote it.

    Keys are names or numbers; a vector has one number for each class.

    Raises:
        DatasetError: If the file is missing, damaged, or holds anything else, naming
            it; nothing that it holds is run.
    """
    try:
        with path.open("rb") as stream:
            _skip_header(stream)
            data = stream.read()
        _refuse_bombs(data)
        content = _Unpickler(BytesIO(data)).load()
    except FileNotFoundError:
        raise DatasetError(
            f"there is no label file {path}; check data.root and data.labels"
        ) from None
    except _FAULTS as error:
        raise DatasetError(
            f"{path} cannot be read as label vectors: {error}; expected what "
            f"numpy.save writes of a dictionary from image name to vector"
        ) from None
    return _checked(content, path)


def _skip_header(stream: BinaryIO) -> None:
    """Read what precedes the pickle, as numpy's documentation of .npy has it."""
    magic, version = stream.read(6), stream.read(2)
    if magic != b"\x93NUMPY":
        raise ValueError("it is no .npy file")
    header = stream.read(
        int.from_bytes(stream.read(2 if version[0] == 1 else 4), "little")
    )
    if b"'descr': '|O'" not in header:
        raise ValueError("it holds an array of numbers and no dictionary")


def _refuse_bombs(data: bytes) -> None:
    """Refuse a pickle that numbers more objects than it can hold, before it is loaded.

    The memo is as long as its greatest number: 5 bytes could ask for gigabytes.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _NUMBERING and int(argument or 0) > len(data):
            raise ValueError(f"it numbers an object {argument} in {len(data)} bytes")


def _checked(content: object, path: Path) -> dict[str | int, np.ndarray]:
    table = content.value if isinstance(content, _Array) else None
    if not isinstance(table, dict):
        raise DatasetError(
            f"{path} holds no dictionary; expected one from image name to vector"
        )
    vectors: dict[str | int, np.ndarray] = {}
    for key, each in table.items():
        value = each.value if isinstance(each, _Array) else None
        if not isinstance(key, str | int) or not isinstance(value, np.ndarray):
            raise DatasetError(
                f"{path}: the entry {key!r} is none; expected a vector of numbers "
                f"under a name or a number"
            )
        if value.ndim != 1:
            raise DatasetError(
                f"{path}: the entry {key!r} has the shape {value.shape}; expected a "
                f"vector with one number for each class"
            )
        vectors[key] = value
    return vectors


class _Unpickler(pickle.Unpickler):
    """Knows what ``numpy.save`` writes of arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if module in _MODULES and name == "_reconstruct":
            return _StandIn(lambda *_: _Array())
        if module in _MODULES and name == "scalar":
            return _StandIn(_scalar)
        if (module, name) == ("numpy", "ndarray"):
            return _StandIn(_refuse_call)
        if (module, name) == ("numpy", "dtype"):
            return _StandIn(lambda code, *_: _Type(code))
        if (module, name) == ("_codecs", "encode"):
            return _StandIn(_encode)
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, which no label file needs, and is not run"
        )


class _StandIn:
    """Stands for a function of numpy; a pickle can call it and do nothing else."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("it changes what it was given")


class _Type:
    """Stands for a type of numbers or of text."""

    __slots__ = ("code",)

    def __init__(self, code: object) -> None:
        if not isinstance(code, str):
            raise pickle.UnpicklingError("a type has no name")
        self.code = code

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        if state[1] in ("<", ">"):
            self.code = state[1] + self.code.lstrip("<>|")

    def known(self) -> np.dtype:
        """Return the type, if it is one of plain numbers."""
        if self.code.lstrip("<>|") not in _NUMBERS:
            raise pickle.UnpicklingError(
                f"an array is of type {self.code!r}; expected numbers"
            )
        return np.dtype(self.code)


class _Array:
    """Stands for an array: of numbers, or the wrapper that numpy puts around a dict."""

    __slots__ = ("value",)
    value: object

    def __init__(self) -> None:
        self.value = None

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        _, shape, kind, is_fortran, data = state
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("an array has no type")
        if isinstance(data, list) and shape == () and len(data) == 1:
            (self.value,) = data
        else:
            flat = np.frombuffer(data, kind.known())
            self.value = flat.reshape(shape, order="F" if is_fortran else "C")


def _scalar(kind: object, data: object) -> object:
    """Return a number or a name that is a key."""
    if not isinstance(kind, _Type) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a number has no type")
    if kind.code.lstrip("<>|").startswith("U"):
        return data.decode("utf-32-be" if ">" in kind.code else "utf-32-le")
    return np.frombuffer(data, kind.known(), count=1)[0].item()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Return bytes that old protocols write as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes what is no text")
    return text.encode("latin1")


def _refuse_call(*_: object) -> NoReturn:
    raise pickle.UnpicklingError("it makes an array in a way that numpy.save does not")
