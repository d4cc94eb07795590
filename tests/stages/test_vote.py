import pytest
import torch
from PIL import Image

from tag2mask import config
from tag2mask.artifacts.cams import Cams, write_cams
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
    return [vote.Elector(LabelFolder(tmp_path / str(n))) for n in range(3)]


def run(index, voters, folder, workers=1, **knobs):
    settings = config.Vote(**knobs)
    runtime = Runtime(workers=workers)
    vote.run(index, voters, settings, folder, runtime=runtime)


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_and_support_of_every_train_image(tmp_path, index, voters, workers):
    run(index, voters, tmp_path / "vote", workers)
    for kind, expected in (("labels", LABELS), ("support", SUPPORT)):
        found = LabelFolder(tmp_path / "vote" / kind)
        assert {name: found[name].tolist() for name in found} == expected


def test_finished_images_are_not_voted_on_again(tmp_path, index, voters):
    # both are written beforehand, as something that no vote would give
    for kind in ("labels", "support"):
        mark = torch.tensor([[7, 7, 7]], dtype=torch.uint8)
        write_labels(tmp_path / "vote" / kind, "a", mark)
    run(index, voters, tmp_path / "vote")
    labels = LabelFolder(tmp_path / "vote" / "labels")
    assert labels["a"].tolist() == [[7, 7, 7]]
    assert labels["b/c"].tolist() == LABELS["b/c"]


def test_image_without_labels_gets_its_support_anew(tmp_path, index, voters):
    """A crash falls between the two files: labels are what says finished."""
    mark = torch.tensor([[7, 7, 7]], dtype=torch.uint8)
    write_labels(tmp_path / "vote" / "support", "a", mark)
    run(index, voters, tmp_path / "vote")
    support = LabelFolder(tmp_path / "vote" / "support")
    assert support["a"].tolist() == SUPPORT["a"]


def test_a_heavy_voter_wins_alone(tmp_path, index, voters):
    # where the first speaks with one of the others, 1.9 of 2.3, times 3, is 2.48
    weighted = [voters[0]._replace(weight=1.5)]
    weighted += [voter._replace(weight=0.4) for voter in voters[1:]]
    run(index, weighted, tmp_path / "vote")
    labels, support = (
        LabelFolder(tmp_path / "vote" / kind) for kind in ("labels", "support")
    )
    # of the last pixel the third abstains: 1.5 of 1.9, times 2, is 1.58
    assert labels["a"].tolist() == [[0, 1, 1]]
    assert support["a"].tolist() == [[2, 3, 1]]
    assert labels["b/c"].tolist() == [[255, 2, 0]]
    assert support["b/c"].tolist() == [[0, 2, 2]]


@pytest.fixture
def scored(tmp_path):
    """Two voters of one image of 4 x 4 with maps at stride 4: a cell for each."""
    Image.new("RGB", (4, 4)).save(tmp_path / "one.png")
    write_index(
        tmp_path / "one",
        [ImageRecord("one", "one.png", 4, 4, (1, 2), "train")],
        ["background", "cat", "dog"],
        [],
    )
    electors = []
    # the first votes for the cat, and is not sure; the second for the dog, and is
    for name, label, maps in (("x", 1, (0.5, 0.4)), ("y", 2, (0.1, 0.9))):
        write_labels(tmp_path / name, "one", torch.full((4, 4), label).byte())
        cams = Cams(torch.tensor(maps).view(2, 1, 1), (1, 2))
        write_cams(tmp_path / f"cams-{name}", "one", cams)
        seeding = config.Seeding(background=0.3)
        maps_of = vote.Maps(tmp_path / f"cams-{name}", seeding)
        electors.append(vote.Elector(LabelFolder(tmp_path / name), 1.0, maps_of))
    return Index(tmp_path / "one", tmp_path), electors


@pytest.mark.parametrize(
    ("knobs", "weights", "label", "support"),
    [
        ({}, (1, 1), 1, 1),  # a tie: the lowest id
        # cat: 0.5 / 1.2 + 0.1 / 1.3 = 0.49, dog: 0.4 / 1.2 + 0.9 / 1.3 = 1.03
        ({"tie": "probability"}, (1, 1), 2, 1),
        # no tie: 3 of 4, times 2, is 1.5
        ({"tie": "probability"}, (3, 1), 1, 1),
        ({"mode": "scores", "crf": "none"}, (1, 1), 2, 1),
        # cat: 30 x 0.417 + 0.077 = 12.6, dog: 30 x 0.333 + 0.692 = 10.7; background 7.7
        # of 31 votes 30 are for it, times 2 is 1.94
        ({"mode": "scores", "crf": "none"}, (30, 1), 1, 1),
    ],
)
def test_ties_and_scores(tmp_path, scored, knobs, weights, label, support):
    index, electors = scored
    weighted = [
        each._replace(weight=float(w))
        for each, w in zip(electors, weights, strict=True)
    ]
    run(index, weighted, tmp_path / "vote", **knobs)
    for kind, value in (("labels", label), ("support", support)):
        found = LabelFolder(tmp_path / "vote" / kind)["one"]
        assert found.unique().tolist() == [value]


def test_a_label_that_no_seed_gave_has_no_support(tmp_path, scored):
    index, electors = scored
    for each in electors:
        write_labels(each.labels.folder, "one", torch.zeros(4, 4).byte())
    run(index, electors, tmp_path / "vote", mode="scores", crf="none")
    assert LabelFolder(tmp_path / "vote" / "labels")["one"].unique().tolist() == [2]
    assert not LabelFolder(tmp_path / "vote" / "support")["one"].any()


def test_the_crf_of_scores_is_alive(tmp_path):
    """Two halves of two colours; maps that say little follow the colours."""
    pixels = torch.zeros(16, 16, 3).byte()
    pixels[:, 6:] = 255
    Image.fromarray(pixels.numpy()).save(tmp_path / "half.png")
    write_index(
        tmp_path / "half",
        [ImageRecord("half", "half.png", 16, 16, (1,), "train")],
        ["background", "cat"],
        [],
    )
    write_labels(tmp_path / "x", "half", torch.zeros(16, 16).byte())
    write_cams(
        tmp_path / "cams",
        "half",
        Cams(torch.tensor([0.1, 0.4, 0.6, 0.9]).expand(1, 4, 4), (1,)),
    )
    maps = vote.Maps(tmp_path / "cams", config.Seeding(alpha=1.0))
    electors = [vote.Elector(LabelFolder(tmp_path / "x"), 1.0, maps)]
    found = {}
    for crf, shrink in (("none", 1), ("seeds", 1), ("seeds", 4)):
        out = tmp_path / f"{crf}-{shrink}"
        table = Index(tmp_path / "half", tmp_path)
        run(table, electors, out, mode="scores", crf=crf, crf_shrink=shrink)
        found[crf, shrink] = LabelFolder(out / "labels")["half"][0].tolist()
    assert found["none", 1] == [0] * 8 + [1] * 8
    assert found["seeds", 1] == [0] * 6 + [1] * 10
    assert found["seeds", 4] != found["seeds", 1]


def test_scores_without_maps_are_refused(tmp_path, index, voters):
    with pytest.raises(ValueError, match="activation maps of every elector"):
        run(index, voters, tmp_path / "vote", tie="probability")
