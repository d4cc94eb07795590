"""``tag2mask submit``: the folder that VOC's test server takes."""

import json
import shutil
import tarfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import fakes
from tag2mask.artifacts.files import file_digest
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.data.published import VOC_CLASSES
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.functional.palette import voc_palette
from tag2mask.models.backbones import make_backbone
from tag2mask.models.segmenters import CARD, WEIGHTS, make_network
from tag2mask.models.weights import save_module
from tag2mask.stages import submission
from tag2mask.stages.predict import Subject

NAMES = ["2011_003276", "2008_000002"]
INSIDE = "results/VOC2012/Segmentation/comp6_test_cls"


@pytest.fixture
def call(call_cli):
    return partial(call_cli, "submit")


@pytest.fixture(scope="module")
def segmenter(finished, tmp_path_factory):
    """A segmenter of VOC's classes, random."""
    folder = tmp_path_factory.mktemp("segmenter")
    shutil.copy(finished.folder("segment") / CARD, folder)
    card = json.loads((folder / CARD).read_text())
    card["class_names"] = ["background", *VOC_CLASSES]
    (folder / CARD).write_text(json.dumps(card))
    torch.manual_seed(0)
    backbone = make_backbone("test_resnet", weights="none", output_stride=8)
    network = make_network(
        backbone, card["network"], num_classes=21, rates=tuple(card["rates"])
    )
    save_module(network, folder / WEIGHTS)
    return folder


@pytest.fixture
def listed(tmp_path):
    """VOC with a list of two test images."""
    root = fakes.write_voc(tmp_path / "VOC2012")
    path = root / "ImageSets" / "Segmentation" / "test.txt"
    path.write_text("".join(f"{name}\n" for name in NAMES))
    return path


def test_a_list_becomes_an_archive(call, segmenter, listed, tmp_path):
    out = tmp_path / "out"
    arguments = (segmenter, "--images", listed, "--out", out, "--workers", "1")
    code, lines, _ = call(*arguments)
    assert code == 0
    assert lines[-1] == str(out / "results.tar.gz")
    assert lines[-2].startswith("2 label maps, checked and packed (scales 1")
    assert lines[0] == (
        f"warning: VOC 2012 has 1456 test images, and its server takes all or none; "
        f"{listed} names 2"
    )
    with tarfile.open(out / "results.tar.gz") as tar:
        files = [each.name for each in tar.getmembers() if each.isfile()]
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert files == [f"{INSIDE}/{name}.png" for name in sorted(NAMES)]
    for name in files:
        with Image.open(tmp_path / "unpacked" / name) as picture:
            assert picture.mode == "P"
            assert picture.size == (fakes.WIDTH, fakes.HEIGHT)
            assert picture.getpalette() == list(voc_palette())
            assert np.array(picture).max() <= 20
    first = file_digest(out / "results.tar.gz")
    assert call(*arguments)[0] == 0
    assert file_digest(out / "results.tar.gz") == first


def test_a_folder_of_images_will_do(call, segmenter, listed, tmp_path):
    photographs = listed.parents[2] / "JPEGImages"
    code, lines, _ = call(segmenter, "--images", photographs, "--out", tmp_path / "out")
    assert code == 0
    assert lines[-2].startswith("4 label maps")


def test_a_model_of_other_classes_is_refused(call, finished, listed, tmp_path):
    out = tmp_path / "out"
    code, _, error = call(finished.summary, "--images", listed, "--out", out)
    assert code == 1
    assert "the 20 classes of PASCAL VOC in their order, but the model has 7" in error
    assert not out.exists()


def test_an_image_that_is_not_there_is_told(call, segmenter, listed, tmp_path):
    listed.write_text("2011_003276\nghost\n")
    code, _, error = call(segmenter, "--images", listed, "--out", tmp_path / "out")
    assert code == 1
    assert "JPEGImages/ghost.jpg, which" in error
    gone = tmp_path / "no.txt"
    code, _, error = call(segmenter, "--images", gone, "--out", tmp_path / "out")
    assert code == 1
    assert "there is no list" in error


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("a", torch.zeros(fakes.HEIGHT, 5), "is 5x8, but .*a.jpg is 12x8"),
        ("a", torch.full((fakes.HEIGHT, fakes.WIDTH), 21), "holds the id 21"),
        ("a", torch.full((fakes.HEIGHT, fakes.WIDTH), 255), "no pixel without a label"),
        ("b/a", torch.zeros(fakes.HEIGHT, fakes.WIDTH), "by their names alone"),
    ],
)
def test_what_the_server_does_not_take_is_refused(tmp_path, name, labels, message):
    fakes.write_picture(tmp_path / "a.jpg")
    write_labels(tmp_path / "labels", name, labels.byte())
    with pytest.raises(DatasetError, match=message):
        submission.run(
            LabelFolder(tmp_path / "labels"),
            [Subject(name, tmp_path / "a.jpg")],
            tmp_path,
            runtime=Runtime(workers=1),
        )
    assert not (tmp_path / "results.tar.gz").exists()


def test_what_was_there_before_is_not_handed_in(tmp_path):
    fakes.write_picture(tmp_path / "a.jpg")
    zeros = torch.zeros(fakes.HEIGHT, fakes.WIDTH).byte()
    for folder, name in ((tmp_path / "labels", "a"), (tmp_path / INSIDE, "stray")):
        write_labels(folder, name, zeros)
    archive = submission.run(
        LabelFolder(tmp_path / "labels"),
        [Subject("a", tmp_path / "a.jpg")],
        tmp_path,
        runtime=Runtime(workers=1),
    )
    with tarfile.open(archive) as tar:
        assert [each for each in tar.getnames() if each.endswith("png")] == [
            f"{INSIDE}/a.png"
        ]
