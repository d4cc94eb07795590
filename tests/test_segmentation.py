import numpy as np
import pytest
from PIL import Image

from tag2mask import Segmentation, load_segmenter, segment_image
from tag2mask.artifacts.labels import read_index_png
from tag2mask.errors import ModelError, RecipeError


@pytest.fixture
def found():
    labels = np.array([[0, 1, 1, 255]], np.uint8)
    image = np.full((1, 4, 3), 100, np.uint8)
    return Segmentation(labels, ("background", "cat", "dog"), image)


def test_areas_are_percent_and_unlabelled_pixels_of_no_class(found):
    assert found.areas() == {"background": 25, "cat": 50, "dog": 0}


def test_overlay_colours_classes_only(found):
    # VOC's colour of 1 is (128, 0, 0): 0.25 * 128 + 0.75 * 100 = 107, 75, 75
    pixels = np.array(found.overlay(0.25))
    assert pixels[0].tolist() == [[100] * 3, [107, 75, 75], [107, 75, 75], [100] * 3]
    assert np.array_equal(np.array(found.overlay(0.0)), found.image)
    assert np.array(found.overlay(1.0))[0, 1].tolist() == [128, 0, 0]
    with pytest.raises(ValueError, match=r"opacity: expected 0\.\.1, got 2"):
        found.overlay(2.0)


def test_saved_labels_are_an_index_png_in_the_palette(found, tmp_path):
    found.save(tmp_path / "sub" / "a.png")
    labels = read_index_png(tmp_path / "sub" / "a.png")
    assert np.array_equal(labels, found.labels)
    colours = Image.open(tmp_path / "sub" / "a.png").convert("RGB")
    assert colours.getpixel((1, 0)) == (128, 0, 0)
    assert colours.getpixel((3, 0)) == (224, 224, 192)
    with pytest.raises(ValueError, match=r"saved as PNG; name a\.jpg so"):
        found.save(tmp_path / "a.jpg")


def test_palette_may_be_ones_own(found, tmp_path):
    own = Segmentation(
        found.labels, found.class_names, found.image, ((0, 0, 0), (1, 2, 3), (4, 5, 6))
    )
    own.save(tmp_path / "a.png")
    colours = Image.open(tmp_path / "a.png").convert("RGB")
    assert colours.getpixel((1, 0)) == (1, 2, 3)
    assert np.array(own.overlay(1.0))[0, 1].tolist() == [1, 2, 3]


def test_labels_of_another_image_are_refused(found):
    with pytest.raises(ValueError, match="do not belong to an image"):
        Segmentation(found.labels, found.class_names, found.image[:, :2])


def test_image_is_segmented_as_files_are(finished, world):
    name = next(iter(finished.record["artifacts"]["predict"]))
    path = world / "images" / "val_00000.png"
    labels = read_index_png(finished.folder("predict", name) / "labels/val_00000.png")
    protocols = {
        "run": segment_image(finished.summary, path),
        "plain": segment_image(finished.folder("segment"), path),
        "loaded": segment_image(load_segmenter(finished.work), path),
    }
    assert any(np.array_equal(each.labels, labels) for each in protocols.values())
    assert np.array_equal(protocols["plain"].labels, protocols["loaded"].labels)
    assert protocols["run"].class_names[0] == "background"
    pixels = np.array(Image.open(path).convert("RGB"))
    changed = segment_image(finished.summary, pixels, {"flip": False})
    assert np.array_equal(changed.labels, protocols["plain"].labels)
    assert not np.array_equal(changed.labels, protocols["run"].labels)
    with pytest.raises(RecipeError, match="cannot be predicted so"):
        segment_image(finished.summary, path, {"flop": True})
    with pytest.raises(ModelError, match=r"is no model: expected summary\.json"):
        segment_image("nowhere", path)


def test_public_surface():
    import tag2mask

    assert tag2mask.__all__ == [
        "Recipe", "Runtime", "Segmentation", "Segmenter", "Tag2MaskError",
        "evaluate_folders", "load_recipe", "load_segmenter", "plan", "predict_files",
        "run", "segment_image", "write_toy_world",
    ]  # fmt: skip
    assert all(hasattr(tag2mask, name) for name in tag2mask.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tea'"):
        _ = tag2mask.tea
