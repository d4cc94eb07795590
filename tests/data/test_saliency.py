import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts.tables import ImageRecord
from tag2mask.data.augment import Augmentation
from tag2mask.data.saliency import SaliencyFolder
from tag2mask.errors import DatasetError

IMAGE = ImageRecord("sub/a", "sub/a.jpg", 4, 3, (1,), "train")
RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.fixture
def maps(tmp_path):
    (tmp_path / "sub").mkdir()
    return SaliencyFolder(tmp_path)


def write(maps, name="sub/a.png", pixels=RAMP, mode=None):
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(maps.folder / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_a_map_is_found_by_the_name_of_its_image(maps, suffix):
    write(maps, f"sub/a{suffix}")
    found = maps.read(IMAGE)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - RAMP).max() <= (0 if suffix == ".png" else 40)
    maps.require(["sub/a"])


def test_two_colours_are_0_and_255(maps):
    write(maps, pixels=np.where(RAMP > 100, 255, 0).astype(np.uint8), mode="1")
    assert set(maps.read(IMAGE).ravel().tolist()) == {0, 255}


def test_a_missing_map_names_the_file(maps):
    with pytest.raises(DatasetError, match=r"sub/a\.png: there is no such saliency"):
        maps.read(IMAGE)
    names = ["sub/a", "b", "c", "d", "e"]
    with pytest.raises(DatasetError) as caught:
        maps.require(names)
    assert str(caught.value) == (
        f"{maps.folder} holds no saliency map sub/a.png, b.png, c.png and 2 more; "
        f"every image of the train split needs one, .png, .jpg, .jpeg"
    )


def test_another_size_names_both(maps):
    write(maps, pixels=RAMP[:2])
    message = r"sub/a\.png: the saliency map is 4x2 but belongs to 4x3 pixels; they"
    with pytest.raises(DatasetError, match=message):
        maps.read(IMAGE)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA"])
def test_what_is_not_grey_is_refused(maps, mode):
    write(maps, mode=mode)
    message = rf"sub/a\.png: expected a saliency map of 8-bit grey, got mode {mode}; "
    with pytest.raises(DatasetError, match=message):
        maps.read(IMAGE)


def test_a_damaged_map_names_the_file(maps):
    (maps.folder / "sub" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"sub/a\.png cannot be read as a saliency"):
        maps.read(IMAGE)


def test_a_missing_folder_names_the_knob(tmp_path):
    message = r"no folder of saliency maps .*x; check the voter's saliency\.folder"
    with pytest.raises(DatasetError, match=message):
        SaliencyFolder(tmp_path / "x")


def test_fingerprint_sees_names_and_sizes(maps):
    write(maps)
    before = maps.fingerprint(["sub/a"])
    assert maps.fingerprint(["sub/a", "b"]) == before  # b has no map
    write(maps, "b.png")
    assert maps.fingerprint(["sub/a", "b"]) != before
    write(maps, pixels=np.zeros((3, 4), np.uint8))
    assert maps.fingerprint(["sub/a"]) != before


def test_crop_and_mirror_of_a_map_are_the_images_own():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 12, 3), np.uint8)
    augment = Augmentation(
        crop=6, rescale=(1.0, 1.0), colour_jitter=0.0, fill=[0.0] * 3
    )
    for _ in range(10):  # the map is the image's own red
        pixels, (found,) = augment(image, [image[:, :, 0].copy()], [0], rng)
        assert (pixels[0] * 255).round().byte().equal(found)


def test_a_map_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24)
    image = ImageRecord("a", "a.png", 5, 5, (), "train")
    with pytest.raises(DatasetError, match="25 pixels"):
        SaliencyFolder(tmp_path).read(image)


def test_a_map_of_a_format_that_could_run_a_program_is_not_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n"
    )
    image = ImageRecord("a", "a.png", 5, 5, (), "train")
    with pytest.raises(DatasetError, match="cannot identify image file"):
        SaliencyFolder(tmp_path).read(image)
