import pytest

from tag2mask.functional.palette import voc_palette


@pytest.mark.parametrize(
    ("label", "colour"),
    [
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),  # bit 0 -> red's bit 7
        (2, (0, 128, 0)),  # bit 1 -> green's bit 7
        (3, (128, 128, 0)),
        (4, (0, 0, 128)),  # bit 2 -> blue's bit 7
        (8, (64, 0, 0)),  # bit 3 -> red's bit 6
        (15, (192, 128, 128)),  # 1111: red 7 and 6, green 7, blue 7
        (20, (0, 64, 128)),  # 10100: blue 7, green 6
        (64, (32, 0, 0)),  # bit 6 -> red's bit 5
        (255, (224, 224, 192)),  # three bits of red and green, two of blue
    ],
)
def test_bits_of_a_label_interleave_into_its_colour(label, colour):
    assert tuple(voc_palette()[3 * label : 3 * label + 3]) == colour


def test_every_label_has_a_colour_of_its_own():
    values = voc_palette()
    assert len(values) == 768
    assert len(set(zip(values[::3], values[1::3], values[2::3], strict=True))) == 256


def test_fewer_colours_are_a_prefix():
    assert voc_palette(21) == voc_palette()[:63]


@pytest.mark.parametrize("num_colours", [0, 257])
def test_a_wrong_number_of_colours_is_named(num_colours):
    with pytest.raises(ValueError, match=rf"expected 1\.\.256, came {num_colours}"):
        voc_palette(num_colours)
