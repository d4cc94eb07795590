import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.data.masks import MaskFolder
from tag2mask.engine.runtime import Runtime
from tag2mask.stages import select
from tag2mask.stages.evaluate import Truth

NAMES = ("background", "cat", "dog", "emu")
BALLOTS = {  # "a" shows a cat, "b" a dog
    "w": {"a": [0, 1, 1, 1, 0, 0], "b": [0, 2, 0, 0, 0, 0]},
    "x": {"a": [0, 1, 1, 0, 0, 0], "b": [0, 2, 2, 2, 0, 0]},
    "y": {"a": [0, 1, 0, 0, 0, 0], "b": [0, 2, 2, 0, 0, 0]},
    "z": {"a": [0, 1, 1, 0, 1, 0], "b": [0, 2, 2, 0, 2, 0]},
}
MASKS = {"a": [0, 1, 1, 1, 0, 255], "b": [0, 2, 2, 2, 0, 0]}


class Ear:
    """A progress that remembers what it was told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def task(self, title, total, *, done=0):
        return Runtime().progress.task(title, total, done=done)


@pytest.fixture
def runtime():
    runtime = Runtime(workers=1)
    object.__setattr__(runtime, "progress", Ear())
    return runtime


@pytest.fixture
def index(tmp_path):
    images = [
        ImageRecord("a", "a.png", 6, 1, (1,), "train"),
        ImageRecord("b", "b.png", 6, 1, (2,), "train"),
        ImageRecord("c", "c.png", 6, 1, (3,), "val"),
    ]
    write_index(tmp_path / "index", images, NAMES, [])
    return Index(tmp_path / "index", tmp_path)


@pytest.fixture
def voters(tmp_path):
    for voter, ballots in BALLOTS.items():
        for name, row in ballots.items():
            labels = torch.tensor([row], dtype=torch.uint8)
            write_labels(tmp_path / voter, name, labels)
    return {voter: LabelFolder(tmp_path / voter) for voter in BALLOTS}


def selected(folder):
    return read_json(folder / select.SELECTION)


def test_agreement_by_hand(tmp_path, index, voters, runtime):
    select.by_agreement(index, voters, tmp_path, runtime=runtime)
    # image a, the vote of three others: pixel 1 has all of them, pixel 2 those of w, x
    # and z but one or none, hence 0 1 1 0 0 0 for all four; image b in the same way
    # cat: w 2 of 3 pixels, x 2 of 2, y 1 of 2, z 2 of 3; dog: 1/2, 2/3, 2/2, 2/3
    record = selected(tmp_path)
    assert record["iou"] == {
        "w": {"cat": 66.6667, "dog": 50.0},
        "x": {"cat": 100.0, "dog": 66.6667},
        "y": {"cat": 50.0, "dog": 100.0},
        "z": {"cat": 66.6667, "dog": 66.6667},
    }  # background has no say, and no image of the train split shows an emu
    assert (record["by"], record["kept"]) == ("agreement", ["x", "y"])
    assert select.read_kept(tmp_path) == ("x", "y")
    assert runtime.progress.said == []


def test_agreement_weighs_the_others(tmp_path, index, voters, runtime):
    select.by_agreement(
        index, voters, tmp_path, weights=[4.0, 1.0, 1.0, 1.0], runtime=runtime
    )
    # w outweighs the two others wherever it is one of the three that are asked
    assert selected(tmp_path)["iou"] == {
        "w": {"cat": 66.6667, "dog": 50.0},
        "x": {"cat": 66.6667, "dog": 33.3333},
        "y": {"cat": 33.3333, "dog": 50.0},
        "z": {"cat": 50.0, "dog": 33.3333},
    }


def test_agreement_where_nobody_stands_out(tmp_path, index, voters, runtime):
    same = {name: voters["w"] for name in "klm"}
    select.by_agreement(index, same, tmp_path, runtime=runtime)
    assert selected(tmp_path)["kept"] == ["k", "l", "m"]
    assert runtime.progress.said == [
        "warning: no voter is solely best in any class, all of them vote"
    ]


def test_agreement_of_two_decides_nothing(tmp_path, index, voters, runtime):
    two = {name: voters[name] for name in "wx"}
    with pytest.raises(ValueError, match="at least three voters, got 2"):
        select.by_agreement(index, two, tmp_path, runtime=runtime)


def test_oracle_by_hand(tmp_path, index, voters, runtime):
    (tmp_path / "masks").mkdir()
    for name, row in MASKS.items():
        Image.fromarray(np.array([row], np.uint8)).save(tmp_path / f"masks/{name}.png")
    masks = MaskFolder(tmp_path / "masks")
    truth = Truth(index.split("train"), masks, index.class_names)
    select.by_truth(truth, voters, tmp_path, runtime=runtime)
    # cat, pixels 1 to 3 of a: 3/3, 2/3, 1/3, 2/4; dog, those of b: 1/3, 3/3, 2/3, 2/4
    # background, 5 pixels without the ignored one: 5 of 7, of 6 and of 8; z has 3 of 5
    # and calls 2 others background: 3/7
    # w is solely best in cat, x in dog and background
    record = selected(tmp_path)
    assert record["iou"]["w"] == {
        "background": 71.4286, "cat": 100.0, "dog": 33.3333, "emu": None,
    }  # fmt: skip
    assert record["iou"]["z"] == {
        "background": 42.8571, "cat": 50.0, "dog": 50.0, "emu": None,
    }  # fmt: skip
    assert (record["by"], record["kept"]) == ("oracle", ["w", "x"])
