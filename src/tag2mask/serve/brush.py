"""Masks as Label Studio's brush stores them: a run-length code in a stream of bits."""

import numpy as np
from jaxtyping import Bool

_WORD_BITS = 8
_LENGTH_BITS = (3, 8, 16, 24)
"""Widths that a run's length may be written with; four, since two bits name one."""
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
        ValueError: If the mask has no pixel or 2**24 or more values.
    """
    values = np.repeat(mask.ravel(), _CHANNELS)
    if not 0 < values.size < 1 << max(_LENGTH_BITS):
        raise ValueError(
            f"mask: expected 1 to {(1 << max(_LENGTH_BITS)) // _CHANNELS - 1} pixels, "
            f"came {mask.size}"
        )
    header = _bits(values.size, 32) + _bits(_WORD_BITS - 1, 5)
    for width in _LENGTH_BITS:
        header += _bits(width - 1, 4)
    ends = np.append(np.flatnonzero(np.diff(values)) + 1, values.size)
    lengths = np.diff(ends, prepend=0)
    is_seen = values[ends - 1]
    parts = [header]
    for length, seen in zip(lengths.tolist(), is_seen.tolist(), strict=True):
        which = next(n for n, w in enumerate(_LENGTH_BITS) if length <= 1 << w)
        parts.append("1" + _bits(which, 2) + _bits(length - 1, _LENGTH_BITS[which]))
        parts.append(_bits(_SEEN if seen else 0, _WORD_BITS))
    stream = "".join(parts)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8))


def _bits(number: int, width: int) -> str:
    return format(number, f"0{width}b")
