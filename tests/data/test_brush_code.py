import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.data.brush_code import decode_brush, encode_brush


def read(code):
    """Read a brush code by Label Studio's documented layout, one bit at a time."""
    bits = "".join(f"{byte:08b}" for byte in code)
    at = 0

    def take(width):
        nonlocal at
        at += width
        return int(bits[at - width : at], 2)

    count, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        is_run = take(1)
        length = take(widths[take(2)]) + 1
        if is_run:
            values += [take(word)] * length
        else:
            values += [take(word) for _ in range(length)]
    return values


def test_code_of_two_pixels_by_hand():
    # one seen, one not: 8 values, 4 of 255 and 4 of 0. The head: 32 bits of 8; 8 bits a
    # value, less one: 00111; widths 3, 4, 8, 16, less one: 0010 0011 0111 1111. A run:
    # 1, width number 0, 4 - 1 = 011, its value
    head = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    runs = "1" + "00" + "011" + "11111111" + "1" + "00" + "011" + "00000000"
    bits = (head + runs).ljust(88, "0")  # 53 + 28 = 81 bits are 11 bytes
    code = encode_brush(np.array([[True, False]]))
    assert code == [int(bits[at : at + 8], 2) for at in range(0, 88, 8)]


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_what_is_read_back_is_the_mask_in_four_channels(mask):
    assert read(encode_brush(mask)) == np.repeat(255 * mask.ravel(), 4).tolist()


@pytest.mark.parametrize("pixels", [2, 4, 5, 64, 65, 16384, 16385, 40000])
def test_runs_at_the_bounds_of_each_width(pixels):
    # 4 values a pixel: a width of 3, 4, 8 or 16 bits holds 2, 4, 64 or 16384 pixels
    mask = np.ones((1, pixels + 1), bool)
    mask[0, -1] = False
    assert read(encode_brush(mask)) == [255] * 4 * pixels + [0] * 4


def test_a_mask_without_pixels_is_refused():
    with pytest.raises(ValueError, match="expected 1 to 2\\*\\*30 - 1 pixels, came 0"):
        encode_brush(np.zeros((0, 3), bool))


def test_values_that_do_not_repeat_are_read():
    # one pixel of 1 2 3 4, as a run of four single values: 0 00 011 then each value
    head = f"{4:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    runs = "0" + "00" + "011" + "".join(f"{value:08b}" for value in (1, 2, 3, 4))
    bits = (head + runs).ljust(96, "0")
    code = [int(bits[at : at + 8], 2) for at in range(0, 96, 8)]
    assert decode_brush(code, height=1, width=1).tolist() == [[True]]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_code_is_read_back(mask):
    height, width = mask.shape
    code = encode_brush(mask)
    assert np.array_equal(decode_brush(code, height=height, width=width), mask)


@given(st.lists(st.integers(-1, 256), max_size=40))
def test_what_is_no_code_is_refused(code):
    with pytest.raises(ValueError, match="its brush"):
        decode_brush(code, height=300, width=300)
