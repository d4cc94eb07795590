import pytest
import torch

from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.engine.runtime import Runtime
from tag2mask.stages import vote

BALLOTS = {
    "a": [[[0, 1, 1]], [[0, 1, 2]], [[1, 1, 255]]],
    "b/c": [[[255, 2, 0]], [[255, 1, 0]], [[255, 2, 1]]],
}
LABELS = {"a": [[0, 1, 1]], "b/c": [[255, 2, 0]]}  # a tie goes to the lowest id
SUPPORT = {"a": [[2, 3, 1]], "b/c": [[0, 2, 2]]}


@pytest.fixture
def index(tmp_path):
    images = [ImageRecord(n, f"{n}.png", 3, 1, (1, 2), "train") for n in BALLOTS]
    images.append(ImageRecord("unseen", "unseen.png", 3, 1, (1,), "val"))
    write_index(tmp_path / "index", images, ["background", "cat", "dog"], [])
    return Index(tmp_path / "index", tmp_path)


@pytest.fixture
def voters(tmp_path):
    for name, ballots in BALLOTS.items():
        for number, ballot in enumerate(ballots):
            labels = torch.tensor(ballot, dtype=torch.uint8)
            write_labels(tmp_path / str(number), name, labels)
    return [LabelFolder(tmp_path / str(number)) for number in range(3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_and_support_of_every_train_image(tmp_path, index, voters, workers):
    vote.run(index, voters, tmp_path / "vote", runtime=Runtime(workers=workers))
    for kind, expected in (("labels", LABELS), ("support", SUPPORT)):
        found = LabelFolder(tmp_path / "vote" / kind)
        assert {name: found[name].tolist() for name in found} == expected


def test_finished_images_are_not_voted_on_again(tmp_path, index, voters):
    # both are written beforehand, as something that no vote would give
    for kind in ("labels", "support"):
        mark = torch.tensor([[7, 7, 7]], dtype=torch.uint8)
        write_labels(tmp_path / "vote" / kind, "a", mark)
    vote.run(index, voters, tmp_path / "vote", runtime=Runtime(workers=1))
    labels = LabelFolder(tmp_path / "vote" / "labels")
    assert labels["a"].tolist() == [[7, 7, 7]]
    assert labels["b/c"].tolist() == LABELS["b/c"]


def test_image_without_labels_gets_its_support_anew(tmp_path, index, voters):
    """A crash falls between the two files: labels are what says finished."""
    mark = torch.tensor([[7, 7, 7]], dtype=torch.uint8)
    write_labels(tmp_path / "vote" / "support", "a", mark)
    vote.run(index, voters, tmp_path / "vote", runtime=Runtime(workers=1))
    support = LabelFolder(tmp_path / "vote" / "support")
    assert support["a"].tolist() == SUPPORT["a"]
