"""Images that someone sent: the same pixels as from a file, within bounds."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from tag2mask.data.images import decode_image, read_image
from tag2mask.errors import DatasetError

PLENTY = 10**6


def encoded(suffix, mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, format=suffix, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded("JPEG", exif=exif)


@pytest.mark.parametrize(
    "data",
    [
        encoded("PNG"), encoded("PNG", "P"), encoded("PNG", "LA"), encoded("JPEG"),
        encoded("JPEG", "CMYK"), encoded("WEBP"), encoded("BMP"), encoded("TIFF"),
        turned(),
    ],
    ids=range(9),
)  # fmt: skip
def test_pixels_are_those_of_the_file(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    expected = read_image(tmp_path / "a")
    assert np.array_equal(decode_image(data, most_pixels=PLENTY), expected)


def test_photographs_are_turned_upright():
    assert decode_image(turned(), most_pixels=PLENTY).shape == (8, 5, 3)


def test_pixels_are_bounded():
    data = encoded("PNG")
    assert decode_image(data, most_pixels=40).shape == (5, 8, 3)
    with pytest.raises(DatasetError, match="too large: 40 pixels, at most 39"):
        decode_image(data, most_pixels=39)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "EPS", "PDF"])
def test_other_kinds_are_not_tried(kind):
    with pytest.raises(DatasetError, match="this is no image; expected JPEG, PNG"):
        decode_image(encoded(kind), most_pixels=PLENTY)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_whatever_is_cut_is_told(kind):
    data = encoded(kind)
    for end in range(0, len(data) - 30, 7):
        with pytest.raises(DatasetError, match=r"no image|cannot be read"):
            decode_image(data[:end], most_pixels=PLENTY)
