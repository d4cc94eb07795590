import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.config import FolderData
from tag2mask.engine.progress import Progress
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.stages import index, truth

RUNTIME = Runtime(workers=1, progress=Progress())
ROWS = {"a": ("cat", "train"), "b": ("cat;dog", "train"), "c": ("", "val")}


@pytest.fixture
def root(tmp_path):
    """Three images of 6x4 pixels, masks for two of them."""
    root = tmp_path / "data"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name in ROWS:
        Image.new("RGB", (6, 4)).save(root / "images" / f"{name}.png")
    for name in ("a", "c"):
        Image.new("L", (6, 4), 1).save(root / "masks" / f"{name}.png")
    write_table(root, ROWS)
    return root


def write_table(root, rows):
    lines = [f"{name},{tags},{split}" for name, (tags, split) in rows.items()]
    (root / "tags.csv").write_text("\n".join(["image,tags,split", *lines]))


def settings(root, **changes):
    return FolderData(**({"root": root, "masks": "masks"} | changes))


def make(data, folder, *, workers=1):
    listing = index.list_images(data)
    index.fingerprint(data, listing)
    runtime = Runtime(workers=workers, progress=RUNTIME.progress)
    index.run(data, listing, folder, runtime=runtime)
    return Index(folder, data.root)


def fingerprint(root, **changes):
    data = settings(root, **changes)
    return index.fingerprint(data, index.list_images(data))


def complaint(data, folder):
    with pytest.raises(DatasetError) as caught:
        make(data, folder)
    heading, *lines = str(caught.value).split("\n")
    assert heading == f"{data.root}: problems with the data: {len(lines)}"
    return [line.strip() for line in lines]


@pytest.mark.parametrize("workers", [1, 2])
def test_index_lists_images_with_ids_and_sizes(root, tmp_path, workers):
    table = make(settings(root), tmp_path / "made", workers=workers)
    assert table.class_names == ("background", "cat", "dog")
    assert [tuple(image) for image in table.images] == [
        ("a", "images/a.png", 6, 4, (1,), "train"),
        ("b", "images/b.png", 6, 4, (1, 2), "train"),
        ("c", "images/c.png", 6, 4, (), "val"),
    ]


def test_tags_are_ids_in_ascending_order(root, tmp_path):
    table = make(settings(root, classes=("dog", "cat")), tmp_path / "made")
    assert table.images[1].tags == (1, 2)
    assert table.images[0].tags == (2,)


def test_size_is_that_of_the_upright_image(root, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(root / "images" / "b.png", exif=exif)
    table = make(settings(root), tmp_path / "made")
    assert (table.images[1].width, table.images[1].height) == (4, 6)


def test_images_without_tags_are_noted(root, tmp_path):
    table = make(settings(root), tmp_path / "made")
    assert table.notes == ("images without a tag, of background only: 1",)


def test_masks_that_fit_no_image_are_noted(root, tmp_path):
    (root / "other").mkdir()
    table = make(settings(root, masks="other"), tmp_path / "made")
    assert f"no image has a mask in {root}/other: nothing can be scored" in table.notes
    assert len(make(settings(root, masks=None), tmp_path / "none").notes) == 1


def test_names_of_splits_are_alive(root, tmp_path):
    write_table(root, {"a": ("cat", "one"), "b": ("cat", "two"), "c": ("cat", "x")})
    data = settings(root, splits={"train": "two", "val": "one"})
    table = make(data, tmp_path / "made")
    assert [image.split for image in table.images] == ["val", "train"]
    assert "1 images are of neither split: left out" in table.notes


def test_split_that_is_none_names_those_that_are(root, tmp_path):
    (line,) = complaint(settings(root, splits={"train": "trian"}), tmp_path / "made")
    assert line.startswith("no image is of split 'trian', found: 'train', 'val'; set")


def test_problems_of_the_table_come_at_once(root, tmp_path):
    write_table(root, ROWS | {"d": ("dog", "train"), "e": ("dog", "train")})
    lines = complaint(settings(root, classes=("cat", "dgo")), tmp_path / "made")
    assert [line.split("tags.csv: ")[1] for line in lines] == [
        f"image 'd' has no file in {root}/images",
        f"image 'e' has no file in {root}/images",
        "tag 'dog' of images/b.png is no class; did you mean 'dgo'?",
    ]


def test_problems_of_images_and_masks_come_at_once(root, tmp_path):
    (root / "images" / "b.png").write_bytes(b"")
    Image.new("L", (6, 4), 9).save(root / "masks" / "a.png")
    Image.new("L", (5, 4)).save(root / "masks" / "c.png")
    lines = complaint(settings(root), tmp_path / "made")
    assert [line.split(" ")[0].strip(":") for line in lines] == [
        f"{root}/masks/a.png",
        f"{root}/images/b.png",
        f"{root}/masks/c.png",
    ]
    assert "class id 9 is unknown" in lines[0]
    assert "cannot be read as an image" in lines[1]
    assert "the mask is 5x4 but belongs to 6x4 pixels" in lines[2]
    assert not (tmp_path / "made").exists()


def test_very_many_problems_are_counted(root, tmp_path):
    rows = {f"x{n:02}": ("cat", "train") for n in range(60)}
    write_table(root, ROWS | rows)
    with pytest.raises(DatasetError) as caught:
        make(settings(root), tmp_path / "made")
    heading, *lines = str(caught.value).split("\n")
    assert "problems with the data: 60" in heading
    assert len(lines) == 51
    assert lines[-1] == "  and 10 more"


def test_bad_images_may_be_left_out_and_are_named(root, tmp_path):
    (root / "images" / "b.png").write_bytes(b"")
    table = make(settings(root, skip_bad=True), tmp_path / "made")
    assert [image.name for image in table.images] == ["a", "c"]
    assert "1 images cannot be read: left out (data.skip_bad): images/b.png" in (
        table.notes
    )


def test_bad_masks_are_never_left_out(root, tmp_path):
    Image.new("L", (6, 4), 9).save(root / "masks" / "a.png")
    (line,) = complaint(settings(root, skip_bad=True), tmp_path / "made")
    assert "class id 9 is unknown" in line


def test_something_to_train_on_must_be_left(root, tmp_path):
    for name in ("a", "b"):
        (root / "images" / f"{name}.png").write_bytes(b"")
    assert complaint(settings(root, skip_bad=True), tmp_path / "made") == [
        "no image of the train split can be read"
    ]


def test_missing_mask_folder_is_named(root, tmp_path):
    with pytest.raises(
        DatasetError, match=r"no mask folder .*/none; check data\.masks"
    ):
        make(settings(root, masks="none"), tmp_path / "made")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write_table(root, ROWS | {"a": ("dog", "train")}),
        lambda root: write_table(root, ROWS | {"a": ("cat", "val")}),
        lambda root: write_table(root, {n: ROWS[n] for n in ("a", "b")}),
        lambda root: Image.new("RGB", (90, 90)).save(root / "images" / "a.png"),
        lambda root: (root / "images" / "a.png").rename(root / "images" / "a.jpg"),
    ],
    ids=["tags", "split", "names", "bytes", "file"],
)
def test_fingerprint_is_of_the_data(root, change):
    before = fingerprint(root)
    change(root)
    assert fingerprint(root) != before


def test_fingerprint_is_of_the_classes_and_not_of_the_place(root):
    before = fingerprint(root)
    assert fingerprint(root, classes=("cat", "dog")) == before
    assert fingerprint(root, classes=("dog", "cat")) != before
    moved = root.rename(root.parent / "moved")
    assert fingerprint(moved) == before


def test_truth_is_a_unanimous_vote_of_the_masks(root, tmp_path):
    pixels = np.array([[0, 1, 2, 255, 0, 0]] * 4, np.uint8)
    for name in ("a", "b"):
        Image.fromarray(pixels).save(root / "masks" / f"{name}.png")
    data = settings(root)
    table, folder = make(data, tmp_path / "made"), tmp_path / "truth"
    truth.run(table, truth.open_masks(data), folder, runtime=RUNTIME)
    labels, support = LabelFolder(folder / "labels"), LabelFolder(folder / "support")
    assert list(labels) == list(support) == ["a", "b"]
    assert torch.equal(labels["a"], torch.from_numpy(pixels))
    assert support["a"][0].tolist() == [255, 255, 255, 0, 255, 255]


def test_truth_continues_where_it_stopped(root, tmp_path):
    write_table(root, {"a": ("cat", "train"), "c": ("cat", "train")})
    data = settings(root)
    table, folder = make(data, tmp_path / "made"), tmp_path / "truth"
    masks = truth.open_masks(data)
    truth.run(table, masks, folder, runtime=RUNTIME)
    before = (folder / "labels" / "a.png").stat().st_mtime_ns
    (folder / "labels" / "c.png").unlink()
    truth.run(table, masks, folder, runtime=RUNTIME)
    assert (folder / "labels" / "a.png").stat().st_mtime_ns == before
    assert list(LabelFolder(folder / "labels")) == ["a", "c"]


def test_truth_names_all_images_without_a_mask(root, tmp_path):
    data = settings(root)
    table = make(data, tmp_path / "made")
    with pytest.raises(
        DatasetError, match=r"masks holds no mask of b; segment\.labels"
    ):
        truth.run(table, truth.open_masks(data), tmp_path / "t", runtime=RUNTIME)
    assert not (tmp_path / "t").exists()


def test_truth_without_masks_says_what_to_set(root):
    with pytest.raises(DatasetError, match=r"data\.masks is not set: name the folder"):
        truth.open_masks(settings(root, masks=None))
