"""Voters that find their background threshold by the others, or by the masks."""

import json
import shutil

import pytest
import torch

from tag2mask import Runtime, plan, run
from tag2mask.artifacts.cams import Cams, write_cams
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.errors import DatasetError, RecipeError
from tag2mask.functional.seeding import alpha_of_threshold
from tag2mask.stages.seed import ALPHA
from tag2mask.stages.thresholds import agree_with_others

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
RUNTIME = Runtime(workers=1)


def agree(tmp_path, *others):
    names = ["background", "cat", "dog"]
    rows = [
        ImageRecord("a", "a.png", 4, 1, (1, 2), "train"),
        ImageRecord("b", "b.png", 4, 1, (), "train"),  # tells nothing: it is not read
        ImageRecord("c", "c.png", 4, 1, (1,), "val"),
    ]
    write_index(tmp_path / "index", rows, names, [])
    maps = torch.tensor([[[0.1, 0.3, 0.7, 0.0]], [[0.0, 0.0, 0.0, 0.6]]])
    write_cams(tmp_path / "cams", "a", Cams(maps, (1, 2)))
    folders = []
    for number, labels in enumerate(others):
        folders.append(LabelFolder(tmp_path / str(number)))
        image = torch.tensor([labels], dtype=torch.uint8)
        write_labels(folders[-1].folder, "a", image)
    index = Index(tmp_path / "index", tmp_path)
    return agree_with_others(index, tmp_path / "cams", folders, runtime=RUNTIME)


def test_a_voter_agrees_with_the_vote_of_the_others(tmp_path):
    # the vote is 0 1 1 2: the lowest threshold at which 0.1 is background; float16
    # stores 0.1 a hair below it
    found = agree(tmp_path, [0, 1, 1, 2], [0, 0, 1, 0], [1, 1, 0, 2])
    assert found == pytest.approx(0.1)
    # of one other alone: 0.3, which float16 stores a hair above it, is background
    assert agree(tmp_path, [0, 0, 1, 2]) == pytest.approx(0.305)


def test_others_without_an_object_tell_nothing(tmp_path):
    assert agree(tmp_path, [0, 0, 0, 255]) is None


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory):
    """The finished work folder of the tiny recipe, so that no voter is trained anew."""
    work = tmp_path_factory.mktemp("thresholds") / "work"
    shutil.copytree(finished.work, work)
    return work


def seeds(summary):
    record = json.loads(summary.read_text())
    return {
        name: (summary.parent / folders["seed"]).resolve()
        for name, folders in record["artifacts"]["voters"].items()
    }


def test_agreement_reaches_the_seeds_and_no_mask(load, copied):
    recipe = load("voters.a.seed={alpha='agreement',crf='none'}")
    listed = [step for step in plan(recipe, copied) if step.stage == "seed"]
    assert len(listed) == 8  # each voter's own by otsu first
    summary = run(recipe, copied, runtime=RUNTIME, until="vote", name="agree")
    found = seeds(summary)
    first = {step.artifact.key: step.artifact for step in listed[:4]}
    for folder in found.values():
        choice = read_json(folder / ALPHA)
        assert choice["by"] == "agreement"
        assert 0 < choice["threshold"] < 1
        assert choice["alpha"] == alpha_of_threshold(choice["threshold"])
        manifest = read_json(folder / "manifest.json")
        assert not manifest["uses_truth"]
        others = {key for role, key in manifest["inputs"].items() if "a-" in role}
        assert len(others) == 3  # all but its own
        assert others < set(first)
    for each in first.values():
        assert read_json(each.folder / ALPHA)["by"] == "otsu"


def test_agreement_is_alive(load, copied):
    found = []
    for alpha in ("otsu", "agreement", "oracle"):
        recipe = load(f"voters.a.seed={{alpha='{alpha}',crf='none'}}")
        summary = run(recipe, copied, runtime=RUNTIME, until="seed", name=alpha)
        found.append(
            [read_json(f / ALPHA)["threshold"] for f in seeds(summary).values()]
        )
    assert found[0] != found[1] != found[2] != found[0]


def test_the_oracle_marks_all_that_follows(load, copied):
    recipe = load("voters.a.seed={alpha='oracle',crf='none'}")
    summary = run(recipe, copied, runtime=RUNTIME, until="vote", name="oracle")
    record = json.loads(summary.read_text())
    uses = {
        (score["stage"], score["protocol"]["uses_truth"])
        for score in record["scores"]
        if score["protocol"].get("threshold_chosen") != "oracle"
    }
    assert uses == {("cam", False), ("seed", True), ("vote", True)}
    for folder in seeds(summary).values():
        assert read_json(folder / "manifest.json")["uses_truth"]
        # without a CRF, seeds at the oracle threshold are the maps scored there
        assert read_json(folder / ALPHA)["by"] == "oracle"
    cams = {s["subject"]: s for s in record["scores"] if s["stage"] == "cam"
            and s["protocol"]["threshold_chosen"] == "oracle"}  # fmt: skip
    for score in record["scores"]:
        if score["stage"] == "seed":
            oracle = cams[score["subject"]]["miou"]
            assert score["miou"] == pytest.approx(oracle, abs=0.2)


def test_others_of_an_oracle_see_its_seeds_without_masks(load, copied):
    recipe = load(
        "voters.a.seed={alpha='agreement',crf='none'}",
        "voters.b.backbone=test_resnet", "voters.b.weights=none",
        "voters.b.output_stride=8", "voters.b.dropout=0.5", "voters.b.scales=1.0",
        "voters.b.seed={alpha='oracle'}",
    )  # fmt: skip
    steps = [step for step in plan(recipe, copied) if step.stage == "seed"]
    assert [step.subject for step in steps].count("b-0.5-1") == 2  # by otsu, by masks


def test_one_voter_has_no_other_to_agree_with(load):
    with pytest.raises(RecipeError, match=r"voters.a.seed.alpha.*needs another voter"):
        load(
            "voters.a.seed.alpha=agreement", "voters.a.dropout=0.1",
            "voters.a.scales=1.0", "segment.min_support=1",
        )  # fmt: skip


def test_the_oracle_needs_masks(load, tmp_path, world):
    shutil.copytree(world, tmp_path / "world")
    changes = "voters.a.seed.alpha=oracle", f"data.root={tmp_path / 'world'}"
    for mask in (tmp_path / "world" / "masks").rglob("train*.png"):
        mask.unlink()
    with pytest.raises(DatasetError, match="scores no pixel of the train split"):
        run(load(*changes), tmp_path / "work", runtime=RUNTIME, until="seed")
