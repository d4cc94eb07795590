"""Masks that other programs read as we wrote them.

Their readers pin old versions of what we use, so that they live in an environment of
their own: run this file there, with pytest, numpy, Pillow, datumaro and
label-studio-sdk, and with the exports of ``python -m tag2mask.cli export masks`` in
``TAG2MASK_EXPORTS``: folders ``index``, ``voc``, ``cvat`` and ``label-studio``, that is

    TAG2MASK_EXPORTS=exports python -m pytest -m slow --noconftest -c /dev/null \\
        tests/export/test_third_parties.py
"""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
EXPORTS = os.environ.get("TAG2MASK_EXPORTS")


@pytest.fixture
def exports():
    if EXPORTS is None:
        pytest.skip("TAG2MASK_EXPORTS names no folder of exports")
    return Path(EXPORTS)


@pytest.fixture
def expected(exports):
    """The label maps by name, and the class names."""
    paths = sorted((exports / "index").rglob("*.png"))
    names = [p.relative_to(exports / "index").with_suffix("").as_posix() for p in paths]
    assert names
    maps = {n: np.array(Image.open(p)) for n, p in zip(names, paths, strict=True)}
    return maps, json.loads((exports / "index" / "classes.json").read_text())


def labels_of(item, dataset, classes, shape):
    """Merge an item's masks by the names of their labels."""
    import datumaro

    categories = dataset.categories()[datumaro.AnnotationType.label]
    masks = [a for a in item.annotations if a.type == datumaro.AnnotationType.mask]
    merged = np.zeros(shape, np.uint8)  # an image of background alone has no mask
    for mask in masks:
        name = categories[mask.label].name
        merged[mask.image.astype(bool)] = (
            255 if name == "ignored" else classes.index(name)
        )
    return merged


@pytest.mark.parametrize("format_", ["voc", "cvat"])
def test_datumaro_reads_what_was_written(exports, expected, tmp_path, format_):
    datumaro = pytest.importorskip("datumaro")
    maps, classes = expected
    folder = exports / format_
    if format_ == "cvat":
        (archive,) = folder.glob("*.zip")
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(tmp_path)
        folder = tmp_path
    dataset = datumaro.Dataset.import_from(str(folder), "voc_segmentation")
    found = {
        item.id: labels_of(item, dataset, classes, maps[item.id].shape)
        for item in dataset
    }
    assert sorted(found) == sorted(maps)
    for name, labels in maps.items():
        assert np.array_equal(found[name], labels)


def test_label_studio_reads_what_was_written(exports, expected):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    maps, classes = expected
    tasks = json.loads((exports / "label-studio" / "tasks.json").read_text())
    assert [task["data"]["name"] for task in tasks] == sorted(maps)
    for task in tasks:
        labels = maps[task["data"]["name"]]
        merged = np.zeros_like(labels)
        for region in task["predictions"][0]["result"]:
            values = brush.decode_rle(region["value"]["rle"])
            shape = (region["original_height"], region["original_width"], 4)
            (name,) = region["value"]["brushlabels"]
            painted = np.reshape(values, shape)[..., 3] > 0
            merged[painted] = 255 if name == "ignored" else classes.index(name)
        assert np.array_equal(merged, labels)


def test_label_studio_writes_what_we_read(expected):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    code = pytest.importorskip("tag2mask.data.brush_code")
    for labels in expected[0].values():
        for number in np.unique(labels).tolist():
            mask = labels == number
            theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
            ours = code.encode_brush(mask)
            # theirs has another byte of zeros where the last one is full
            assert ours == list(theirs)[: len(ours)]
            assert not any(list(theirs)[len(ours) :])
            height, width = mask.shape
            found = code.decode_brush(theirs, height=height, width=width)
            assert np.array_equal(found, mask)
