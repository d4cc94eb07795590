import os
import struct

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


LOSSLESS = {
    "png": {},
    "PNG": {},
    "bmp": {},
    "tif": {},
    "TIFF": {"compression": "tiff_lzw"},
    "webp": {"lossless": True},
}


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("name", ["a", "two words", "a.b", "ä", "a\u0308", "木🌳"])
def test_lossless_formats_are_read_exactly(tmp_path, suffix, name):
    path = save(tmp_path / f"{name}.{suffix}", **LOSSLESS[suffix])
    assert np.array_equal(read_image(path), PIXELS)
    assert image_files(tmp_path) == {name: [path]}


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_alpha_of_any_format_is_dropped(tmp_path, suffix):
    alpha = np.dstack([PIXELS, np.array([[1, 9, 255]] * 2, np.uint8)])
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", alpha, **options)
    assert np.array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_modes_of_tiff(tmp_path, mode):
    found = read_image(save(tmp_path / "a.tif", mode=mode))
    expected = PIXELS
    if mode in ("L", "LA"):  # 0.299 red + 0.587 green + 0.114 blue
        grey = np.array([[76, 150, 29], [0, 255, 76]], np.uint8)
        expected = np.repeat(grey[..., None], 3, axis=2)
    if mode == "1":
        assert found[1, :2].tolist() == [[0] * 3, [255] * 3]
    else:
        assert np.array_equal(found, expected)


def write_tiff(path, pixels, order):
    """Write an uncompressed TIFF of 16 bits a channel, which Pillow cannot."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    num_tags = 9
    behind = 8 + 2 + 12 * num_tags + 4
    short, long = 3, 4
    tags = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, channels, 16 if channels == 1 else behind),
        (259, short, 1, 1),
        (262, short, 1, 1 if channels == 1 else 2),
        (273, long, 1, behind + 2 * channels),
        (277, short, 1, channels),
        (278, short, 1, height),
        (279, long, 1, len(data)),
    ]
    content = b"MM\0*" if order == ">" else b"II*\0"
    content += struct.pack(f"{order}IH", 8, num_tags)
    for tag, kind, count, value in tags:
        is_short = kind == short and count == 1
        form = f"{order}HHIHH" if is_short else f"{order}HHII"
        content += struct.pack(
            form, tag, kind, count, *([value, 0] if is_short else [value])
        )
    content += struct.pack(f"{order}I", 0) + struct.pack(
        f"{order}{channels}H", *[16] * channels
    )
    path.write_bytes(content + data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bits_keeps_its_upper_bits(tmp_path, order):
    path = tmp_path / "a.tif"
    write_tiff(path, np.array([[[0], [0x1234], [0xFFFF]]]), order)
    assert read_image(path)[0].tolist() == [[0] * 3, [0x12] * 3, [0xFF] * 3]
    write_tiff(path, PIXELS.astype(int) * 256 + 7, order)
    assert np.array_equal(read_image(path), PIXELS)


def test_floats_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "a.tif")
    assert "it stores floats; save it with 8 or 16 bits" in complaint(
        tmp_path / "a.tif"
    )


@pytest.mark.parametrize("suffix", ["tif", "webp"])
def test_first_page_or_frame_counts(tmp_path, suffix):
    other = Image.fromarray(PIXELS[::-1])
    options = {"save_all": True, "append_images": [other]} | (
        {"lossless": True} if suffix == "webp" else {}
    )
    path = save(tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(read_image(path), PIXELS)


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
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_turns_upright(tmp_path, orientation, upright, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = save(tmp_path / f"a.{suffix}", exif=exif, **LOSSLESS[suffix])
    assert np.array_equal(read_image(path), upright)


def test_broken_exif_does_not_count(tmp_path):
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0no such thing")
    assert read_image(path).shape == PIXELS.shape


def complaint(path):
    with pytest.raises(DatasetError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
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


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_what_lies_beside_photographs_is_not_searched(tmp_path):
    for name in ("a.jpg", ".cache/b.jpg", "@eaDir/a.jpg/c.jpg", "__MACOSX/d.jpg"):
        touch(tmp_path / name)
    touch(tmp_path / "work" / "seed" / "0" / "labels" / "e.png")
    assert set(image_files(tmp_path)) == {"a", "work/seed/0/labels/e"}
    touch(tmp_path / "work" / "index" / "0" / "manifest.json")  # a run's first artifact
    assert set(image_files(tmp_path)) == {"a"}
    with pytest.raises(DatasetError, match="work is a work folder; keep the images in"):
        image_files(tmp_path / "work")


def test_links_to_folders_are_followed_and_end(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    touch(elsewhere / "cats" / "a.jpg")
    touch(root / "dog" / "b.jpg")
    (root / "cat").symlink_to(elsewhere / "cats")
    touch(root / ".store" / "emu" / "c.jpg")
    (root / "emu").symlink_to(root / ".store" / "emu")
    (root / "again").symlink_to(root / "dog")  # it is searched where it is
    (root / "round").symlink_to(tmp_path)
    (elsewhere / "cats" / "back").symlink_to(root)
    (elsewhere / "cats" / "self").symlink_to(elsewhere / "cats")
    assert set(image_files(root)) == {"cat/a", "dog/b", "emu/c"}


def test_two_links_to_one_folder_are_told(tmp_path):
    touch(tmp_path / "elsewhere" / "cats" / "a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (tmp_path / "root" / "z").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"root/cat and .*z/cats are one folder by"):
        image_files(tmp_path / "root")


def test_folder_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "shut").mkdir()
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    (tmp_path / "shut").chmod(0)
    with pytest.raises(DatasetError, match=r"shut cannot be read: Permission denied"):
        image_files(tmp_path)


def test_failure_to_list_a_folder_is_told(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"cannot be read: Permission denied; allow"):
        image_files(tmp_path)


def test_a_format_that_could_run_a_program_is_not_opened(tmp_path):
    # Pillow would hand PostScript to Ghostscript, whatever the file is called
    path = tmp_path / "a.jpg"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    with pytest.raises(DatasetError, match="cannot identify image file"):
        read_image(path)


@pytest.mark.parametrize(
    "name", ["a\nb.png", "a\x1b[2J.png", os.fsdecode(b"caf\xe9.png")]
)
def test_a_name_that_no_list_could_hold_is_refused(tmp_path, name):
    try:
        save(tmp_path / name)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(DatasetError, match="UTF-8 without line breaks") as caught:
        image_files(tmp_path)
    str(caught.value).encode()
