import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask import config
from tag2mask.artifacts.cams import Cams, write_cams
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.data.masks import MaskFolder
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.stages import evaluate, evaluate_vote

NAMES = ("background", "cat", "dog")
RUNTIME = Runtime(workers=1)


def write(folder, name, rows, how=write_labels):
    how(folder, name, torch.tensor(rows, dtype=torch.uint8))


class Data:
    """Label maps and masks on disk, image by image."""

    def __init__(self, folder):
        self.folder = folder
        self.images = []
        (folder / "masks").mkdir()

    def add(self, name, labels, mask):
        write(self.folder / "labels", name, labels)
        write(self.folder / "masks", name, mask)
        height, width = len(mask), len(mask[0])
        self.images.append(ImageRecord(name, "", width, height, (1, 2), "train"))

    @property
    def labels(self):
        return LabelFolder(self.folder / "labels")

    @property
    def truth(self):
        return evaluate.Truth(self.images, MaskFolder(self.folder / "masks"), NAMES)

    def score(self, workers=1, **settings):
        return evaluate.score_labels(
            self.labels,
            self.truth,
            config.Evaluate(**settings),
            runtime=Runtime(workers=workers),
        )


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path)


@pytest.fixture
def two(data):
    """Two images of four pixels."""
    data.add("good", [[0, 0, 1, 1]], [[0, 0, 1, 255]])
    data.add("bad", [[1, 1, 0, 255]], [[0, 1, 0, 1]])
    return data


def test_scores_worked_by_hand(two):
    found = two.score()
    # background: 3 of 4 true ones hit, none labelled falsely: 3 / 4
    # cat: 2 of 3 true ones hit, one labelled falsely, one left out: 2 / 4
    assert found["per_class"] == {"background": 75.0, "cat": 50.0, "dog": None}
    assert found["miou"] == 62.5
    assert found["unit"] == "%"
    assert found["precision"] == {"background": 100.0, "cat": 66.6667, "dog": None}
    assert found["recall"] == {"background": 75.0, "cat": 66.6667, "dog": None}
    assert found["fpr"] == {"background": 0.0, "cat": 25.0, "dog": None}
    assert found["fnr"] == {"background": 25.0, "cat": 25.0, "dog": None}
    # 7 scored pixels, 6 of them labelled, 5 rightly
    assert found["pixel_accuracy"] == 71.4286
    assert found["coverage"] == 85.7143
    assert found["purity"] == 83.3333
    assert found["num_images"] == 2
    # truth in rows; the last column is what has no label
    assert found["confusion"] == [[3, 1, 0, 0], [0, 2, 0, 1], [0, 0, 0, 0]]


def test_iou_and_both_rates_sum_to_one(two):
    found = two.score()
    for name in ("background", "cat"):
        sums = found["per_class"][name] + found["fpr"][name] + found["fnr"][name]
        assert sums == pytest.approx(100)


def test_worst_images_come_first(two):
    assert two.score()["worst_images"] == [
        # background 1 of 2, cat 1 of 3
        {"image": "bad", "miou": 41.6667},
        {"image": "good", "miou": 100.0},
    ]


def test_only_the_worst_images_are_named(data):
    for number in range(20):
        data.add(f"{number:02d}", [[0, number % 2]], [[0, 0]])
    worst = data.score()["worst_images"]
    assert [each["image"] for each in worst[:2]] == ["01", "03"]
    assert len(worst) == 12


def test_samples_of_a_class_are_images_whose_mask_has_it(data):
    # the cat: a 1 of 2, b 2 of 2, c 0 of 1, d 1 of 4; the cat of e is false
    data.add("a", [[1, 0, 0, 0]], [[1, 1, 0, 0]])
    data.add("b", [[1, 1, 0, 0]], [[1, 1, 0, 0]])
    data.add("c", [[0, 0, 0, 0]], [[1, 0, 0, 0]])
    data.add("d", [[1, 1, 1, 1]], [[1, 0, 0, 0]])
    data.add("e", [[1, 0, 0, 0]], [[0, 0, 0, 0]])
    assert data.score()["samples"] == [
        {
            "class_id": 1,
            "worst": [{"image": "c", "iou": 0.0}, {"image": "d", "iou": 25.0}],
            "best": [{"image": "b", "iou": 100.0}, {"image": "a", "iou": 50.0}],
        }
    ]


def test_an_image_is_a_sample_of_a_class_once(data):
    data.add("a", [[2, 1, 0]], [[2, 1, 1]])
    data.add("b", [[1, 1, 0]], [[1, 1, 1]])
    data.add("c", [[1, 1, 1]], [[1, 1, 1]])
    cat, dog = data.score()["samples"]
    named = [each["image"] for each in (*cat["worst"], *cat["best"])]
    assert named == ["a", "b", "c"]
    assert dog == {"class_id": 2, "worst": [{"image": "a", "iou": 100.0}], "best": []}


def test_interval_holds_the_score(data):
    for number in range(12):
        data.add(str(number), [[0, 1, number % 3]], [[0, 1, 1]])
    found = data.score(bootstrap=200)
    low, high = found["interval"]
    assert 0 < low < found["miou"] < high < 100
    assert data.score(bootstrap=200)["interval"] == [low, high]


def test_no_bootstrap_gives_no_interval(two):
    assert "interval" not in two.score(bootstrap=0)


def test_equal_images_have_an_interval_of_no_width(data):
    for name in "abc":
        data.add(name, [[0, 1, 1]], [[0, 1, 0]])
    found = data.score(bootstrap=50)
    assert found["interval"] == [found["miou"]] * 2


def test_boundary_ratio_is_alive(data):
    mask = [[int(4 <= x < 28 and 4 <= y < 28) for x in range(32)] for y in range(32)]
    hole = [[v * int(not (14 <= x < 18)) for x, v in enumerate(row)] for row in mask]
    data.add("a", hole, mask)
    one, other = (data.score(boundary_ratio=r)["boundary_iou"] for r in (0.02, 0.1))
    assert one != other


def test_boundary_iou_of_equal_maps_is_whole(data):
    data.add("a", [[0, 1], [1, 1]], [[0, 1], [1, 255]])
    assert data.score()["boundary_iou"] == 100.0


def test_workers_change_nothing(data):
    for number in range(9):
        data.add(str(number), [[0, 1, number % 3]], [[0, 1, 1]])
    assert data.score() == data.score(workers=2)


def test_masks_without_a_scored_pixel_give_no_score(data):
    data.add("a", [[0, 1]], [[255, 255]])
    found = data.score()
    assert found["miou"] is None
    assert "interval" not in found
    assert found["worst_images"] == []


def test_no_image_gives_no_score(data):
    assert data.score()["miou"] is None


def test_labels_of_another_size_are_named(two):
    write(two.folder / "labels", "bad", [[0, 0], [0, 0]])
    with pytest.raises(DatasetError, match=r"labels/bad.png is 2x2, its mask 4x1"):
        two.score()


def test_mask_of_another_size_is_named(two):
    write(two.folder / "masks", "bad", [[0, 0]])
    with pytest.raises(DatasetError, match=r"masks/bad.png: the mask is 2x1"):
        two.score()


def test_mask_that_is_missing_is_named(two):
    (two.folder / "masks" / "bad.png").unlink()
    with pytest.raises(DatasetError, match=r"masks/bad.png: there is no such mask"):
        two.score()


def test_label_map_that_is_missing_is_named(two):
    (two.folder / "labels" / "bad.png").unlink()
    with pytest.raises(DatasetError, match=r"labels/bad.png: there is no such label"):
        two.score()


def test_label_that_is_no_class_is_named(two):
    write(two.folder / "labels", "bad", [[0, 3, 0, 0]])
    with pytest.raises(DatasetError, match=r"labels/bad.png: .*id 3 is no class"):
        two.score()


@pytest.mark.parametrize("workers", [1, 2])
def test_support_table_worked_by_hand(data, workers):
    data.add("a", [[0, 1, 1, 2]], [[0, 1, 2, 255]])
    data.add("b", [[0, 0, 1, 1]], [[1, 0, 1, 0]])
    for name, rows in {"a": [[3, 2, 1, 3]], "b": [[1, 2, 2, 3]]}.items():
        write(data.folder / "support", name, rows, write_support)
    found = evaluate_vote.score_support(
        data.folder, data.truth, num_voters=4, runtime=Runtime(workers=workers)
    )
    assert found["num_images"] == 2
    columns = ("min_support", "coverage", "purity", "object_coverage")
    assert [tuple(row[c] for c in columns) for row in found["by_min_support"]] == [
        # 7 scored pixels, of which 4 right; 4 true objects
        (1, 100.0, 57.1429, 100.0),
        # support below 2: a wrong cat and a wrong background, both true objects
        (2, 71.4286, 80.0, 50.0),
        # left are a right background and a wrong cat
        (3, 28.5714, 50.0, 0.0),
        (4, 0.0, None, 0.0),
    ]
    marks = [
        [row[mark] for mark in evaluate_vote.MARKS] for row in found["by_min_support"]
    ]
    # 4 of 7 right; of these 2 keep their mark at t = 2: one is of support 1
    assert marks[0] == [57.1429, 0.0, 0.0, 42.8571]
    assert marks[1] == [57.1429, 0.0, 28.5714, 14.2857]
    assert [round(sum(row)) for row in marks] == [100] * 4
    columns = ("support", "share", "purity")
    assert [tuple(row[c] for c in columns) for row in found["by_support"]] == [
        (1, 28.5714, 0.0),  # the two that are wrong
        (2, 42.8571, 100.0),  # a right cat in both, a right background
        (3, 28.5714, 50.0),
        (4, 0.0, None),
    ]


def cam_scores(data, fixed=0.15):
    return evaluate.score_cams(
        data.folder / "cams", data.truth, {"fixed": fixed}, runtime=RUNTIME
    )


@pytest.fixture
def cams(data):
    """One image of a row of four pixels, each of which is its own cell."""
    data.add("a", [[0] * 4], [[0, 0, 1, 2]])
    maps = torch.tensor([[[0.0, 0.3, 0.75, 0.1]], [[0.1, 0.0, 0.5, 0.8]]])
    write_cams(data.folder / "cams", "a", Cams(maps, (1, 2)))
    return data


def test_cams_at_the_fixed_threshold(cams):
    found = cam_scores(cams, fixed=0.2)["fixed"]
    # labelled 0 1 1 2: background 1 of 2, cat 1 of 2, dog 1 of 1
    assert found["threshold"] == 0.2
    assert found["per_class"] == {"background": 50.0, "cat": 50.0, "dog": 100.0}
    assert found["miou"] == 66.6667


def test_cams_at_the_best_threshold(cams):
    found = cam_scores(cams)
    # from 0.3 on the second pixel is background; of equal scores the lowest threshold
    assert found["oracle"]["miou"] == 100.0
    assert found["oracle"]["threshold"] == pytest.approx(0.3, abs=0.006)
    assert found["fixed"]["threshold"] == 0.15
    assert found["num_images"] == 1
    assert len(found["miou_by_threshold"]) == 201
    assert max(found["miou_by_threshold"]) == 100.0


def test_image_without_tags_is_background_at_every_threshold(data):
    data.add("a", [[0, 0]], [[0, 0]])
    write_cams(data.folder / "cams", "a", Cams(torch.zeros(0, 1, 1), ()))
    found = cam_scores(data)
    assert found["miou_by_threshold"] == [100.0] * 201


def test_cams_without_a_scored_pixel_give_no_score(cams):
    write(cams.folder / "masks", "a", [[255] * 4])
    found = cam_scores(cams)
    assert found["oracle"]["miou"] is None
    assert found["oracle"]["threshold"] == 0


def test_open_folder_takes_every_label_map(two):
    truth = evaluate.open_folder(two.labels, two.folder / "masks", None, None, RUNTIME)
    assert [image.name for image in truth.images] == ["bad", "good"]
    assert list(truth.class_names) == ["0", "1"]  # the highest id is 1


def test_open_folder_takes_names_and_classes_that_are_given(two):
    truth = evaluate.open_folder(
        two.labels, two.folder / "masks", ["good"], NAMES, RUNTIME
    )
    assert [(i.name, i.width, i.height) for i in truth.images] == [("good", 4, 1)]
    assert truth.class_names == NAMES


def test_open_folder_names_what_is_missing(two):
    (two.folder / "masks" / "bad.png").unlink()
    with pytest.raises(DatasetError, match=r"1 files .*masks/bad.png.*--names"):
        evaluate.open_folder(two.labels, two.folder / "masks", None, None, RUNTIME)
    names = ["bad", *"abcd"]
    with pytest.raises(DatasetError, match=r"9 files .*labels/a.png.* and 6 more"):
        evaluate.open_folder(two.labels, two.folder / "masks", names, None, RUNTIME)


def test_open_folder_refuses_to_score_nothing(data):
    with pytest.raises(DatasetError, match="no label map in"):
        evaluate.open_folder(data.labels, data.folder / "masks", None, None, RUNTIME)


def test_masks_are_named_by_their_pixels(data):
    data.add("a", [[0, 1, 1, 2]], [[0, 1, 2, 255]])
    first = data.score()["masks"]
    # the same pixels as a grey picture with another compression
    path = data.folder / "masks" / "a.png"
    Image.fromarray(np.array(Image.open(path))).save(path, compress_level=9)
    assert data.score()["masks"] == first
    assert cam_scores_of_nothing(data)["masks"] == first
    write(data.folder / "masks", "a", [[0, 1, 1, 255]])
    assert data.score()["masks"] != first


def cam_scores_of_nothing(data):
    write_cams(data.folder / "cams", "a", Cams(torch.zeros(0, 1, 1), ()))
    return cam_scores(data)
