"""Masks as Label Studio stores its brush: the bit stream of thi.ng's rle-pack.

A stream is, highest bit first: the number of values (32 bits), bits per value less one
(5), four lengths of run sizes less one (4 each), then runs. A run is a bit that says
whether one value is repeated, which of the four lengths its size has (2), its size
less one, and the value, or each of its values. The values are the red, green, blue and
opacity of the pixels, row by row, of which only opacity has a meaning.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

_SIZES = (3, 4, 8, 16)
_WORD = 8
_CHANNELS = 4
_PAINTED = 255


def encode_brush(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Return a mask as bytes, 0..255 each; the last is filled up with zeros.

    Raises:
        ValueError: If the mask has no pixel, or 2**30 or more.
    """
    count = mask.size * _CHANNELS
    if not 0 < count < 1 << 32:
        raise ValueError(f"mask: expected 1 to 2**30 - 1 pixels, came {mask.size}")
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * _CHANNELS
    bits = [f"{count:032b}{_WORD - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in _SIZES]
    for length, is_painted in zip(
        lengths.tolist(), flat[ends - 1].tolist(), strict=True
    ):
        value = _PAINTED * int(is_painted)
        bits += [_run(part, value) for part in _parts(length)]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(
    code: Sequence[int], *, height: int, width: int
) -> Bool[np.ndarray, "h w"]:
    """Return the painted pixels of a code.

    Raises:
        ValueError: If it is no such code, or of an image of another size.
    """
    try:
        stream = _Bits(bytes(code))
    except (TypeError, ValueError):
        raise ValueError("its brush is no list of bytes") from None
    count = stream.read(32)
    if count != height * width * _CHANNELS:
        raise ValueError(
            f"its brush has {count} values, not {_CHANNELS} for each of {width}x"
            f"{height} pixels"
        )
    word = stream.read(5) + 1
    sizes = [stream.read(4) + 1 for _ in _SIZES]
    values = np.zeros(count, np.uint8)
    done = 0
    while done < count:
        is_repeated = stream.read(1)
        size = stream.read(sizes[stream.read(2)]) + 1
        if size > count - done:
            raise ValueError("its brush is damaged")
        if is_repeated:
            values[done : done + size] = min(stream.read(word), _PAINTED)
        else:
            for place in range(done, done + size):
                values[place] = min(stream.read(word), _PAINTED)
        done += size
    opacity = values.reshape(height, width, _CHANNELS)[..., _CHANNELS - 1]
    return opacity > 0


def _parts(length: int) -> Iterator[int]:
    """Split a run that is longer than the longest size can say."""
    most = 1 << _SIZES[-1]
    while length:
        yield min(length, most)
        length -= min(length, most)


def _run(length: int, value: int) -> str:
    place = next(n for n, size in enumerate(_SIZES) if length <= 1 << size)
    return f"1{place:02b}{length - 1:0{_SIZES[place]}b}{value:0{_WORD}b}"


class _Bits:
    def __init__(self, code: bytes) -> None:
        self._text = f"{int.from_bytes(code, 'big'):0{8 * len(code)}b}" if code else ""
        self._at = 0

    def read(self, count: int) -> int:
        part = self._text[self._at : self._at + count]
        if len(part) < count:
            raise ValueError("its brush is cut off")
        self._at += count
        return int(part, 2)
