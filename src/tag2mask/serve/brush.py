"""Masks as Label Studio's brush stores them: a run-length code in a stream of bits."""

import numpy as np
from jaxtyping import Bool

_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
"""Widths that a run's length may be written with; longer runs are written in parts."""
_LONGEST = 1 << max(_LENGTH_BITS)
_CHANNELS = 4
_SEEN = 255


def brush_rle(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Encode a mask as Label Studio reads it in ``value.rle``.

    The code is of an RGBA picture, row by row, in which every channel of a pixel of the
    mask is 255 and of any other 0. After 32 bits for the number of values come 5 bits
    for the bits of a value less one, and 4 x 4 for four widths less one; then, for each
    run, a bit 1, two bits that name a width, the run's length less one in that width,
    and its value.

    Returns:
        The bytes of the stream, the last filled up with zeros.

    Raises:
        ValueError: If the mask has no pixel or 2**30 or more.
    """
    count = mask.size * _CHANNELS
    if not 0 < count < 1 << 32:
        raise ValueError(f"mask: expected 1 to 2**30 - 1 pixels, came {mask.size}")
    parts = [_bits(count, 32), _bits(_WORD_BITS - 1, 5)]
    parts += [_bits(width - 1, 4) for width in _LENGTH_BITS]
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * _CHANNELS
    for length, is_seen in zip(lengths.tolist(), flat[ends - 1].tolist(), strict=True):
        value = _bits(_SEEN if is_seen else 0, _WORD_BITS)
        for begun in range(0, length, _LONGEST):
            parts += [_run(min(_LONGEST, length - begun)), value]
    stream = "".join(parts)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8))


def _run(length: int) -> str:
    """Return the head of a run in the least width that holds its length."""
    which = next(n for n, width in enumerate(_LENGTH_BITS) if length <= 1 << width)
    return f"1{_bits(which, 2)}{_bits(length - 1, _LENGTH_BITS[which])}"


def _bits(number: int, width: int) -> str:
    return format(number, f"0{width}b")
