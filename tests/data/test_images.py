import numpy as np
import pytest
from PIL import ExifTags, Image

from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import image_files, read_image, read_indexed
from tag2mask.errors import DatasetError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
PIXELS = np.array([[RED, GREEN, BLUE], [(0, 0, 0), (255, 255, 255), RED]], np.uint8)


def save(path, pixels=PIXELS, mode="RGB", **options):
    picture = Image.fromarray(pixels)
    picture = picture if mode == "RGB" else picture.convert(mode)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_png_is_read_exactly(tmp_path, suffix):
    assert np.array_equal(read_image(save(tmp_path / f"ä b{suffix}")), PIXELS)


def test_jpeg_is_read_nearly(tmp_path):
    smooth = np.full((8, 16, 3), (200, 100, 50), np.uint8)
    found = read_image(save(tmp_path / "a.jpg", smooth, quality=95))
    assert found.shape == (8, 16, 3)
    assert np.abs(found.astype(int) - smooth).max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_has_three_equal_channels(tmp_path, mode):
    found = read_image(save(tmp_path / "a.png", mode=mode))
    assert found.shape == PIXELS.shape
    assert (found == found[..., :1]).all()
    assert found[1, :2].tolist() == [[0] * 3, [255] * 3]


def test_grey_of_16_bits_keeps_its_upper_bits(tmp_path):
    Image.fromarray(np.array([[0, 0x1234, 0xFFFF]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0x12, 0xFF]


def test_palette(tmp_path):
    path = save(tmp_path / "a.png", mode="P")
    with Image.open(path) as picture:
        assert picture.mode == "P"
    assert np.array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("transparency", [0, b"\x00\x80"])
def test_palette_with_transparency(tmp_path, transparency):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8))
    picture.putpalette([*RED, *GREEN])
    picture.save(tmp_path / "a.png", transparency=transparency)
    assert read_image(tmp_path / "a.png").tolist() == [[list(RED), list(GREEN)]]


def test_alpha_is_dropped(tmp_path):
    alpha = np.dstack([PIXELS, np.array([[0, 9, 255]] * 2, np.uint8)])
    assert np.array_equal(read_image(save(tmp_path / "a.png", alpha)), PIXELS)


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(path)
    assert read_image(path).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, PIXELS),
        (2, PIXELS[:, ::-1]),
        (3, PIXELS[::-1, ::-1]),
        (4, PIXELS[::-1]),
        (5, PIXELS.transpose(1, 0, 2)),
        (6, np.rot90(PIXELS, -1)),
        (7, PIXELS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(PIXELS)),
        (99, PIXELS),
    ],
)
def test_exif_turns_upright(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert np.array_equal(read_image(save(tmp_path / "a.png", exif=exif)), upright)


def test_broken_exif_does_not_count(tmp_path):
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0no such thing")
    assert read_image(path).shape == PIXELS.shape


def complaint(path):
    with pytest.raises(DatasetError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0, 0.2, 0.7])
def test_truncated_image_is_named_with_its_cure(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = complaint(path)
    assert "cannot be read as an image (" in message
    assert message.endswith("replace or remove it, or set data.skip_bad=true")


def test_what_is_no_image_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("<html>not found</html>")
    assert "cannot be read as an image (cannot identify" in complaint(path)


def test_missing_image_is_named(tmp_path):
    assert complaint(tmp_path / "a.jpg").endswith("there is no such image")


def test_folder_is_no_image(tmp_path):
    assert "cannot be read as an image" in complaint(tmp_path)


@pytest.mark.parametrize("most", [1, 5])
def test_bomb_is_refused_with_its_cure(tmp_path, monkeypatch, most):
    path = save(tmp_path / "a.png")  # 6 pixels: a warning above 5, an error above 2 x 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    message = complaint(path)
    assert "is too large to be a photograph" in message
    assert message.endswith("set data.skip_bad=true")


@pytest.mark.filterwarnings("ignore")
def test_bomb_is_refused_where_warnings_are_not_errors(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    assert "is too large to be a photograph: 6 pixels, at most 5" in complaint(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == PIXELS.shape


RECORD = ImageRecord("a", "a.png", 3, 2, (), "train")


def test_indexed_image_is_read(tmp_path):
    save(tmp_path / "a.png")
    assert np.array_equal(read_indexed(Index(tmp_path, tmp_path), RECORD), PIXELS)


def test_image_of_another_size_than_indexed_is_named_with_its_cure(tmp_path):
    save(tmp_path / "a.png", PIXELS.transpose(1, 0, 2).copy())
    with pytest.raises(DatasetError) as caught:
        read_indexed(Index(tmp_path, tmp_path), RECORD)
    assert str(caught.value) == (
        f"{tmp_path}/a.png is 2x3 pixels, expected 3x2; it has changed since it was "
        f"indexed: put the old file back, or run the recipe again to index the images "
        f"anew"
    )


def test_image_that_was_deleted_after_indexing_is_named_with_its_cure(tmp_path):
    with pytest.raises(DatasetError) as caught:
        read_indexed(Index(tmp_path, tmp_path), RECORD)
    assert "a.png: there is no such image; it has changed since" in str(caught.value)


def test_images_are_found_by_name(tmp_path):
    for name in ("b.jpg", "b.png", "sub/a.c.JPEG", "._b.jpg", "x.txt", "dir.png/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert image_files(tmp_path) == {
        "b": [tmp_path / "b.jpg", tmp_path / "b.png"],
        "sub/a.c": [tmp_path / "sub" / "a.c.JPEG"],
        "dir.png/y": [tmp_path / "dir.png" / "y.jpg"],
    }
