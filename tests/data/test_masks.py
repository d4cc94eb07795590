import numpy as np
import pytest
from PIL import Image

from tag2mask.data.masks import MaskFolder
from tag2mask.errors import DatasetError

MASK = np.array([[0, 2, 255], [1, 1, 0]], np.uint8)


@pytest.fixture
def masks(tmp_path):
    (tmp_path / "sub").mkdir()
    Image.fromarray(MASK).save(tmp_path / "sub" / "a.png")
    return MaskFolder(tmp_path)


def complaint(masks, name="sub/a", *, num_classes=3, size=(3, 2)):
    with pytest.raises(DatasetError) as caught:
        masks.read(name, num_classes=num_classes, size=size)
    message = str(caught.value)
    assert message.startswith(f"{masks.folder}/{name}.png")
    return message


def test_mask_is_read_as_it_is(masks):
    assert np.array_equal(masks.read("sub/a", num_classes=3, size=(3, 2)), MASK)
    assert "sub/a" in masks
    assert "a" not in masks


def test_folder_must_exist(tmp_path):
    with pytest.raises(
        DatasetError, match=r"no mask folder .*/none; check data\.masks"
    ):
        MaskFolder(tmp_path / "none")


def test_mask_of_another_size(masks):
    assert "the mask is 3x2 but belongs to 2x3 pixels" in complaint(masks, size=(2, 3))


def test_mask_with_unknown_ids(masks):
    message = complaint(masks, num_classes=2)
    assert "class id 2 is unknown; ids must lie below 2 or be 255 (ignore)" in message


def test_photograph_as_mask_does_not_list_all_its_values(masks):
    Image.fromarray(np.arange(200, dtype=np.uint8)[None]).save(masks.path("b"))
    message = complaint(masks, "b", size=(200, 1))
    assert "class id 3, 4, 5, 6, 7, ... is unknown" in message


def test_mask_of_colours(masks):
    Image.new("RGB", (3, 2)).save(masks.path("b"))
    message = complaint(masks, "b")
    assert "got mode RGB" in message
    assert message.endswith("replace or remove the mask")


def test_truncated_mask(masks):
    path = masks.path("sub/a")
    path.write_bytes(path.read_bytes()[:50])
    assert "cannot be read as a PNG" in complaint(masks)


def test_missing_mask(masks):
    assert complaint(masks, "b").endswith("there is no such mask")


def test_fingerprint_is_of_which_masks_there_are(masks):
    before = masks.fingerprint(["sub/a", "b"])
    assert masks.fingerprint(["sub/a"]) == before
    assert masks.fingerprint(["b"]) != before
    Image.new("L", (30, 20)).save(masks.path("b"))
    assert masks.fingerprint(["sub/a", "b"]) != before
