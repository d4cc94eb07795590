"""Every format: written, read back, and read by the tools that it is for."""

import json
import sys
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import fakes
from tag2mask.artifacts.labels import read_index_png, write_labels
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError, DatasetError
from tag2mask.export import index_png, masks
from tag2mask.export.label_maps import Source, open_maps
from tag2mask.export.masks import export_masks

FORMATS = ("index", "voc", "coco", "cvat", "label-studio", "yolo")
CLASSES = ["background", 'a "cat" & <dog>', "émeu"]
RUNTIME = Runtime(workers=1)
export = partial(export_masks, runtime=RUNTIME)


def draw():
    """Two label maps, one below a folder; one has unlabelled pixels, both classes."""
    first = np.zeros((5, 7), np.uint8)
    first[1:3, 2:6] = 1
    first[4, :] = 2
    second = first.T.copy()
    second[0, 0] = 255
    return {"a": first, "sub/b": second}


@pytest.fixture
def labels(tmp_path):
    folder = tmp_path / "labels"
    for name, values in draw().items():
        write_labels(folder, name, torch.from_numpy(values))
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    return folder


@pytest.fixture
def photographs(tmp_path):
    fakes.write_picture(tmp_path / "photos" / "a.png")
    fakes.write_picture(tmp_path / "photos" / "sub" / "b.jpg", 1)
    return tmp_path / "photos"


@pytest.mark.parametrize("format_", FORMATS)
def test_each_format_is_read_back_and_says_what_becomes_of_255(
    labels, photographs, tmp_path, format_
):
    source = Source(labels, images=photographs)
    count, notes = export(source, tmp_path / "out", format_)
    assert count == 2
    (note,) = notes
    assert note.startswith("1 label maps have unlabelled pixels: they ")
    is_255 = format_ in ("index", "voc", "yolo")
    assert ("they are 255" in note) == is_255


@pytest.mark.parametrize("format_", FORMATS)
def test_without_unlabelled_pixels_nothing_is_called_ignored(
    labels, photographs, tmp_path, format_
):
    (tmp_path / "list.txt").write_text("a\n")
    source = Source(labels, images=photographs, names=tmp_path / "list.txt")
    assert export(source, tmp_path / "out", format_) == (1, ())
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".json", ".txt", ".xml", ".yaml"):
            assert "ignored" not in path.read_text()


def test_voc_by_its_documented_layout(labels, tmp_path):
    export(Source(labels), tmp_path / "out", "voc")
    out = tmp_path / "out"
    assert (out / "ImageSets/Segmentation/train.txt").read_text() == "a\nsub/b\n"
    # VOC's colours of 1 and 2, and of 255
    assert (out / "labelmap.txt").read_text().splitlines() == [
        "# label:color_rgb:parts:actions",
        "background:0,0,0::",
        'a "cat" & <dog>:128,0,0::',
        "émeu:0,128,0::",
        "ignored:224,224,192::",
    ]
    picture = Image.open(out / "SegmentationClass/sub/b.png")
    assert picture.mode == "P"
    assert np.array_equal(np.array(picture), draw()["sub/b"])


def test_yolo_by_its_documented_layout(labels, photographs, tmp_path):
    export(Source(labels, images=photographs), tmp_path / "out", "yolo")
    out = tmp_path / "out"
    mask = Image.open(out / "masks/train/sub/b.png")
    assert mask.mode == "L"  # a palette would be decoded to colours by OpenCV
    assert np.array_equal(np.array(mask), draw()["sub/b"])
    copied = out / "images/train/sub/b.jpg"
    assert copied.read_bytes() == (photographs / "sub/b.jpg").read_bytes()
    assert (out / "data.yaml").read_text().splitlines() == [
        f'path: "{out.resolve()}"',
        "masks_dir: masks",
        "train: images/train",
        "val: images/train",
        "names:",
        '  0: "background"',
        '  1: "a \\"cat\\" & <dog>"',
        '  2: "\\u00e9meu"',
    ]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_what_pycocotools_reads(labels, photographs, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    export(Source(labels, images=photographs), tmp_path / "out", "coco")
    found = coco.COCO(tmp_path / "out" / "instances.json")
    capsys.readouterr()
    assert {c["id"]: c["name"] for c in found.loadCats(found.getCatIds())} == {
        1: CLASSES[1], 2: CLASSES[2], 255: "ignored",
    }  # fmt: skip
    files = {image["file_name"]: image for image in found.loadImgs(found.getImgIds())}
    assert list(files) == ["a.png", "sub/b.jpg"]
    for file, name in (("a.png", "a"), ("sub/b.jpg", "sub/b")):
        rows = found.loadAnns(found.getAnnIds(files[file]["id"]))
        merged = np.zeros_like(draw()[name])
        for row in rows:
            mask = found.annToMask(row).astype(bool)
            merged[mask] = row["category_id"]
            assert row["area"] == mask.sum()
        assert np.array_equal(merged, draw()[name])
    # columns 2 to 5, rows 1 and 2
    assert found.loadAnns(1)[0]["bbox"] == [2, 1, 4, 2]


def test_archive_of_cvat_has_its_documented_members(labels, tmp_path):
    export(Source(labels), tmp_path / "out", "cvat")
    path = tmp_path / "out" / "cvat-segmentation-mask-1.1.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            "labelmap.txt",
            "ImageSets/Segmentation/default.txt",
            "SegmentationClass/a.png",
            "SegmentationObject/a.png",
            "SegmentationClass/sub/b.png",
            "SegmentationObject/sub/b.png",
        ]
        with archive.open("SegmentationObject/sub/b.png") as stream:
            objects = np.array(Image.open(stream))
        with archive.open("SegmentationClass/sub/b.png") as stream:
            classes = np.array(Image.open(stream))
    assert objects[0, 0].tolist() == [128, 128, 0]  # the third object: VOC's colour 3
    assert classes[0, 0].tolist() == [224, 224, 192]
    assert classes[2, 1].tolist() == objects[2, 1].tolist() == [128, 0, 0]
    again = tmp_path / "again"
    export(Source(labels), again, "cvat")
    assert (again / path.name).read_bytes() == path.read_bytes()


def test_tasks_of_label_studio(labels, photographs, tmp_path):
    fakes.write_picture(photographs / "é & b.png")
    write_labels(labels, "é & b", torch.ones(8, 12, dtype=torch.uint8))
    source = Source(labels, images=photographs)
    export(source, tmp_path / "out", "label-studio", address="s3://bucket/")
    first, _, third = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert first["data"] == {
        "image": "s3://bucket/a.png", "name": "a", "width": 7, "height": 5,
    }  # fmt: skip
    assert third["data"]["image"] == "s3://bucket/%C3%A9%20%26%20b.png"
    (prediction,) = first["predictions"]
    region = prediction["result"][1]
    assert (region["original_width"], region["original_height"]) == (7, 5)
    assert (region["type"], region["value"]["format"]) == ("brushlabels", "rle")
    assert region["value"]["brushlabels"] == ["émeu"]
    assert (tmp_path / "out" / "labelling.xml").read_text() == (
        "<View>\n"
        '  <Image name="image" value="$image" zoom="true"/>\n'
        '  <BrushLabels name="mask" toName="image">\n'
        '    <Label value=\'a "cat" &amp; &lt;dog&gt;\' background="#800000"/>\n'
        '    <Label value="émeu" background="#008000"/>\n'
        '    <Label value="ignored" background="#e0e0c0"/>\n'
        "  </BrushLabels>\n"
        "</View>\n"
    )
    assert {region["from_name"], region["to_name"]} == {"mask", "image"}


def test_run_is_exported_with_its_own_photographs(finished, tmp_path):
    count, _ = export(Source(finished.summary), tmp_path / "out", "coco")
    assert count == 8
    content = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert content["images"][0]["file_name"] == "images/train_00000.png"
    assert content["images"][0]["height"] == 48
    name = next(iter(finished.record["artifacts"]["predict"]))
    source = Source(finished.summary, subject=name)
    count, notes = export(source, tmp_path / "yolo", "yolo")
    assert (count, notes) == (4, ())
    data = (tmp_path / "yolo" / "data.yaml").read_text()
    assert "val: images/val" in data
    assert (tmp_path / "yolo" / "images/val/val_00000.png").exists()
    with pytest.raises(ArtifactError, match=f"has no label maps 'tea'; .*vote, {name}"):
        export(source._replace(subject="tea"), tmp_path / "no", "index")


def test_unknown_photographs_are_told(labels, tmp_path):
    _, notes = export(Source(labels), tmp_path / "a", "coco")
    assert "photographs of 2 label maps are not known" in notes[0]
    _, notes = export(Source(labels), tmp_path / "b", "yolo")
    assert "copy them into images/" in notes[0]


def test_classes_come_from_a_file_where_they_are_not_beside(labels, tmp_path):
    (labels / "classes.json").unlink()
    with pytest.raises(DatasetError, match="does not say what its ids mean: give --cl"):
        export(Source(labels), tmp_path / "out", "index")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    source = Source(labels, classes=tmp_path / "names.txt")
    export(source, tmp_path / "out", "index")
    names = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert names == ["background", "cat", "dog"]
    (tmp_path / "names.txt").write_text("cat\n")
    with pytest.raises(DatasetError, match=r"a\.png: class id 2 has no name; there"):
        export(source, tmp_path / "again", "index")


def test_class_that_is_called_ignored_cannot_be_told_from_the_ignored(labels, tmp_path):
    (labels / "classes.json").write_text('["background", "ignored", "b"]')
    with pytest.raises(DatasetError, match="call the class otherwise"):
        export(Source(labels), tmp_path / "out", "coco")


@pytest.mark.parametrize("name", ["a:b", "#a"])
def test_name_that_a_label_map_cannot_hold(labels, tmp_path, name):
    (labels / "classes.json").write_text(json.dumps(["background", name, "b"]))
    with pytest.raises(DatasetError, match=r"cannot be written in labelmap\.txt"):
        export(Source(labels), tmp_path / "out", "voc")


def test_nothing_is_written_over_or_outside(labels, tmp_path):
    with pytest.raises(DatasetError, match="is not empty; choose another folder"):
        export(Source(labels), labels, "index")
    (tmp_path / "list.txt").write_text("../labels/a\n")
    with pytest.raises(DatasetError, match=r"'\.\./labels/a' is no image's name"):
        export(Source(labels, names=tmp_path / "list.txt"), tmp_path / "out", "index")
    (tmp_path / "empty").mkdir()
    source = Source(tmp_path / "empty", classes=tmp_path / "list.txt")
    with pytest.raises(DatasetError, match="there is no label map to export"):
        export(source, tmp_path / "out", "index")
    with pytest.raises(DatasetError, match=r"there is no folder .*gone"):
        export(Source(tmp_path / "gone"), tmp_path / "out", "index")


def test_export_that_is_read_back_otherwise_is_refused(labels, tmp_path, monkeypatch):
    real = index_png.open_index_pngs

    def spoiled(out):
        read = real(out)
        return lambda name: read(name) + (name == "a")

    monkeypatch.setattr(masks.index_png, "open_index_pngs", spoiled)
    with pytest.raises(ArtifactError, match=r"1 label maps in .* otherwise .*\(a\)"):
        export(Source(labels), tmp_path / "out", "index")


def test_missing_pycocotools_is_told_with_its_cure(labels, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(DatasetError, match=r'pip install "tag2mask\[coco\]"'):
        export(Source(labels), tmp_path / "out", "coco")


def test_several_threads_write_the_same(labels, photographs, tmp_path):
    source = Source(labels, images=photographs)
    for format_ in FORMATS:
        export(source, tmp_path / "one" / format_, format_)
        export_masks(
            source, tmp_path / "many" / format_, format_, runtime=Runtime(workers=3)
        )
    files = [p for p in (tmp_path / "one").rglob("*") if p.is_file()]
    assert files
    for path in files:
        other = tmp_path / "many" / path.relative_to(tmp_path / "one")
        if path.name != "data.yaml":  # names its own folder
            assert other.read_bytes() == path.read_bytes()


def test_maps_know_what_they_hold(labels):
    maps = open_maps(Source(labels), runtime=RUNTIME)
    assert maps.names == ("a", "sub/b")
    assert maps.contents["sub/b"] == (7, 5, (0, 1, 2, 255))
    assert maps.num_ignored == 1
    assert maps.label_names()[255] == "ignored"
    assert np.array_equal(read_index_png(labels / "a.png"), maps.read("a"))


def test_a_work_folder_stands_for_its_newest_run(finished):
    by_file, by_folder, by_run = (
        open_maps(Source(path), runtime=RUNTIME)
        for path in (finished.summary, finished.work, finished.summary.parent)
    )
    assert by_folder.names == by_run.names == by_file.names
    assert by_folder.label_names() == by_file.label_names()
