"""Classifier voters through the pipeline: backbones, readings, saliency, selections."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tag2mask import Runtime, load_recipe, plan, run
from tag2mask.artifacts.cams import read_cams
from tag2mask.artifacts.files import read_json
from tag2mask.errors import DatasetError, RecipeError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
RUNTIME = Runtime(workers=1)
NARROW = (
    "voters.a.backbone=resnet38d",
    "voters.a.backbone_options={width=0.0625}",
    "voters.a.steps=1",
    "voters.a.dropout=0.1",
    "voters.a.scales=1.0",
    "segment.min_support=1",
)
CUT = "segment.min_support=1"


def todo(recipe, work):
    return {
        f"{step.stage} {step.subject}".strip()
        for step in plan(recipe, work, name="tiny")
        if step.state != "finished"
    }


@pytest.fixture
def work(finished, tmp_path):
    """A copy of the finished run, to be gone on from."""
    return shutil.copytree(finished.work, tmp_path / "work")


def test_resnet38d_from_tags_to_masks(load, finished, tmp_path):
    del finished  # which has compiled what both need
    segment = (
        "segment.init_from=a",
        "segment.backbone=resnet38d",
        "segment.backbone_options={width=0.0625}",
        "segment.steps=1",
    )
    summary = run(load(*NARROW, *segment, "report.panels=0"), tmp_path, runtime=RUNTIME)
    record = read_json(summary)
    assert {score["stage"] for score in record["scores"]} == {
        "cam", "seed", "vote", "predict",
    }  # fmt: skip
    assert record["recipe"]["voters"]["a"]["freeze"] == [
        "conv1a", "b2", "b2_1", "b2_2",
    ]  # fmt: skip
    folder = summary.parent / record["artifacts"]["voters"]["a-0.1-1"]["localize"]
    trained = load_file(folder / "weights.safetensors")
    assert trained["backbone.net.b7.conv_branch2b2.weight"].shape == (256, 128, 1, 1)


def test_dropout_layer_is_alive(load, tmp_path):
    for layer in ("dropout7", "b7"):
        recipe = load(*NARROW, f"voters.a.dropout_layer={layer}", "voters.a.steps=2")
        run(recipe, tmp_path, runtime=RUNTIME, until="localize")
    one, other = tmp_path.glob("localize/*/weights.safetensors")
    assert one.read_bytes() != other.read_bytes()
    # `auto` is one of them and needs no other training
    assert not any(
        each.startswith("localize")
        for each in todo(load(*NARROW, "voters.a.steps=2"), tmp_path)
    )


def test_bias_factor_is_alive(load, finished, tmp_path):
    recipe = load("voters.a.bias_factor=2.0", "voters.a.dropout=0.1", CUT)
    run(recipe, tmp_path, runtime=RUNTIME, until="localize")
    (found,) = tmp_path.glob("localize/*/weights.safetensors")
    ours = finished.folder("voters", "a-0.1-1", "localize") / "weights.safetensors"
    assert found.read_bytes() != ours.read_bytes()


@pytest.fixture
def by_dropout(load, work):
    """The maps of a network that is read with dropout, by voter."""
    summary = run(load("voters.a.mode=mc"), work, runtime=RUNTIME, until="cam")
    voters = read_json(summary)["artifacts"]["voters"]
    return {
        name: (summary.parent / paths["cam"]).resolve()
        for name, paths in voters.items()
    }


def test_mc_reads_one_training_in_many_ways(load, finished):
    found = todo(load("voters.a.mode=mc"), finished.work)
    assert not any(each.startswith("localize") for each in found)
    names = {f"a-{dropout}-{scale}" for dropout in (0.1, 0.3) for scale in (1, 1.3)}
    assert {each for each in found if each.startswith("cam")} == {
        f"cam {name}" for name in names
    }
    subjects = [s.subject for s in plan(load("voters.a.mode=mc"), finished.work)]
    assert subjects.count("tags of a-0.1") == 1
    assert "tags of a-0.3" not in subjects


def test_mc_voters_differ_and_come_again(load, work, by_dropout, finished):
    maps = {
        name: read_cams(folder / "cams", "train_00000").maps
        for name, folder in by_dropout.items()
    }
    names = list(maps)
    assert names == ["a-0.1-1", "a-0.1-1.3", "a-0.3-1", "a-0.3-1.3"]
    plain = finished.folder("voters", "a-0.1-1", "cam") / "cams"
    seen = [read_cams(plain, "train_00000").maps, *maps.values()]
    for n, one in enumerate(seen):
        assert not any(one.equal(other) for other in seen[n + 1 :])
    first = by_dropout["a-0.3-1"]
    before = {path.name: path.read_bytes() for path in (first / "cams").glob("*.npz")}
    shutil.rmtree(first)
    run(load("voters.a.mode=mc"), work, runtime=Runtime(workers=3), until="cam")
    after = {path.name: path.read_bytes() for path in (first / "cams").glob("*.npz")}
    assert after == before
    (first / "manifest.json").unlink()  # as if killed when one map was missing
    (first / "cams" / "train_00003.npz").unlink()
    run(load("voters.a.mode=mc"), work, runtime=RUNTIME, until="cam")
    again = {path.name: path.read_bytes() for path in (first / "cams").glob("*.npz")}
    assert again == before


@pytest.fixture
def salient(world, recipe_file, tmp_path):
    """Load the tiny recipe, its images having saliency maps, with overrides."""
    root = shutil.copytree(world, tmp_path / "world")
    rng = np.random.default_rng(0)
    for path in root.glob("images/*.png"):
        grey = rng.integers(0, 256, (48, 48), np.uint8)
        (root / "saliency").mkdir(exist_ok=True)
        Image.fromarray(grey).save(root / "saliency" / path.name)
    fixed = [f"data.root={root}", "voters.a.dropout=0.1", "voters.a.scales=1.0", CUT]
    fixed += ["voters.a.steps=2"]
    return lambda *overrides: load_recipe(recipe_file, [*fixed, *overrides])


WITH = "voters.a.saliency={folder='saliency'}"


def weights_of(recipe, work):
    summary = run(recipe, work, runtime=RUNTIME, until="cam")
    paths = read_json(summary)["artifacts"]["voters"]["a-0.1-1"]
    assert paths["cam"]
    return load_file(summary.parent / paths["localize"] / "weights.safetensors")


def test_saliency_teaches_a_voter(salient, tmp_path):
    knobs = ((), (WITH,), (WITH, "voters.a.saliency.balance=0.9"))
    work = tmp_path / "work"
    plain, taught, other = (
        weights_of(salient(*each), work)["head.weight"] for each in knobs
    )
    assert len(taught) == len(other) == len(plain) + 1  # a background before the tags
    assert not taught.equal(other)
    logs = [path.read_text() for path in work.glob("localize/*/log.csv")]
    assert sum("saliency" in text.splitlines()[0] for text in logs) == 2


def test_changed_saliency_is_another_training(salient, tmp_path):
    before = todo(salient(WITH), tmp_path)
    (key,) = {s.artifact.key for s in plan(salient(WITH), tmp_path)
              if s.stage == "localize"}  # fmt: skip
    folder = tmp_path / "world" / "saliency"
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(folder / "train_00000.png")
    (other,) = {s.artifact.key for s in plan(salient(WITH), tmp_path)
                if s.stage == "localize"}  # fmt: skip
    assert "localize a-0.1" in before
    assert key != other


def test_a_missing_saliency_map_is_told_by_the_plan(salient, tmp_path):
    (tmp_path / "world" / "saliency" / "train_00002.png").unlink()
    with pytest.raises(DatasetError, match=r"no saliency map train_00002\.png; every"):
        plan(salient(WITH), tmp_path / "work")


def test_a_saliency_map_of_another_size_names_the_file(salient, tmp_path):
    path = tmp_path / "world" / "saliency" / "train_00002.png"
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    message = r"train_00002\.png: the saliency map is 5x4 but belongs to 48x48 pixels"
    with pytest.raises(DatasetError, match=message):
        run(salient(WITH), tmp_path / "work", runtime=RUNTIME, until="localize")


@pytest.mark.parametrize("folder", ["masks", "./masks", "saliency/../masks"])
def test_ground_truth_is_no_saliency(salient, tmp_path, folder):
    with pytest.raises(DatasetError, match=r"the ground-truth masks of data\.masks"):
        plan(salient(f"voters.a.saliency={{folder='{folder}'}}"), tmp_path / "work")


def test_copied_ground_truth_is_no_saliency_either(salient, tmp_path):
    """Label maps have a palette, which maps of what stands out have not."""
    shutil.copytree(tmp_path / "world" / "masks", tmp_path / "world" / "copy")
    recipe = salient("voters.a.saliency={folder='copy'}")
    with pytest.raises(DatasetError, match="8-bit grey, got mode P"):
        run(recipe, tmp_path / "work", runtime=RUNTIME, until="localize")


def test_saliency_chooses_b7_of_resnet38d(load):
    def last(*overrides):
        return load("voters.a.output_stride=8", *overrides).voters["a"].last_dropout

    assert last() == last(WITH) == last(*NARROW) == "dropout7"
    assert last(*NARROW, WITH) == "b7"
    assert last(*NARROW, WITH, "voters.a.dropout_layer=dropout7") == "dropout7"
    assert last(*NARROW, "voters.a.dropout_layer=b7") == "b7"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["voters.a.dropout_layer=b7"], "dropout_layer = 'b7' is a block of resnet38d"),
        (
            ["voters.a.mode=dropout"],
            r"voters\.a\.mode: Input should be 'train' or 'mc'",
        ),
        (["voters.a.saliency=x"], r"voters\.a\.saliency: Input should be an object"),
        (["voters.a.saliency={}"], r"voters\.a\.saliency\.folder: Field required"),
        (["voters.a.bias_factor=0.0"], r"voters\.a\.bias_factor: Input should be grea"),
        (["vote.select=best"], r"vote\.select: Input should be 'all', 'agreement' or"),
        (
            ["vote.select=agreement", "voters.a.dropout=0.1", CUT],
            "vote.select = 'agreement' needs at least 3 voters, .*; there are 2",
        ),
    ],
)
def test_wrong_knobs(load, changes, message):
    with pytest.raises(RecipeError, match=message):
        load(*changes)


def test_selection_needs_no_new_seed(load, finished):
    for select in ("agreement", "oracle"):
        found = todo(load(f"vote.select={select}", CUT), finished.work)
        assert {each.split()[0] for each in found} == {
            "select", "vote", "segment", "predict", "evaluate", "proxies", "report",
        }  # fmt: skip
        assert not any(each.startswith("evaluate seed") for each in found)


def selected(load, work, select, *changes):
    recipe = load(f"vote.select={select}", *changes)
    summary = run(recipe, work, runtime=RUNTIME, until="vote")
    record = read_json(summary)
    folder = summary.parent / record["artifacts"]["select"]
    return record, read_json(folder / "selection.json"), folder


def test_agreement_votes_without_the_truth(load, work):
    record, selection, folder = selected(load, work, "agreement", CUT)
    kept = selection["kept"]
    assert 1 <= len(kept) <= 4
    assert set(selection["iou"]) == set(record["artifacts"]["voters"])
    assert not read_json(folder / "manifest.json")["uses_truth"]
    (score,) = (each for each in record["scores"] if each["stage"] == "vote")
    assert score["protocol"]["select"] == "agreement"
    assert not score["protocol"]["uses_truth"]
    # only those that were kept are counted
    assert len(record["clean_pixels"]["by_min_support"]) == len(kept)
    assert list(record["proxies"]["vote"]["agreement"]) == kept
    assert len(record["proxies"]["vote"]["coverage"]) == len(kept)
    assert record["warnings"] == [
        f"vote.select = 'agreement': {len(kept)} of 4 voters vote: {', '.join(kept)}"
    ]


def test_agreement_weighs_voters_as_the_vote_does(load, work):
    heavy = 'vote.weights={"a-0.1-1"=9.0}'
    _, heads, _ = selected(load, work, "agreement", CUT)
    _, weighed, _ = selected(load, work, "agreement", CUT, heavy)
    assert weighed["iou"]["a-0.1-1"] == heads["iou"]["a-0.1-1"]  # not one of its others
    assert weighed["iou"]["a-0.1-1.3"] != heads["iou"]["a-0.1-1.3"]


def test_selected_voters_alone_vote(load, finished, work):
    _, selection, _ = selected(load, work, "oracle", CUT)
    kept = selection["kept"]
    assert len(kept) < 4  # else nothing below would be seen
    folders = list(work.glob("vote/*"))
    (new,) = (
        each for each in folders if not (finished.work / "vote" / each.name).exists()
    )
    highest = max(
        int(np.array(Image.open(path)).max()) for path in new.glob("support/*.png")
    )
    assert highest == len(kept)


def test_oracle_says_everywhere_that_it_uses_truth(load, work):
    changes = (CUT, "segment.steps=1", "predict.flip=false", "report.panels=0")
    recipe = load("vote.select=oracle", *changes)
    summary = run(recipe, work, runtime=RUNTIME, name="oracle")
    record = read_json(summary)
    uses = {
        (score["stage"], score["protocol"].get("threshold_chosen"), uses)
        for score in record["scores"]
        if (uses := score["protocol"]["uses_truth"])
    }
    assert uses == {
        ("cam", "oracle", True), ("vote", None, True), ("predict", None, True),
    }  # fmt: skip
    for name in ("select", "vote", "segment", "predict"):
        folder = record["artifacts"][name]
        folder = folder["plain"] if name == "predict" else folder
        assert read_json(summary.parent / folder / "manifest.json")["uses_truth"], name
    (warning,) = (each for each in record["warnings"] if "vote.select" in each)
    assert warning.startswith("vote.select = 'oracle': chosen with GROUND TRUTH, ")
    page = (summary.parent / record["artifacts"]["report"]).read_text()
    assert "chosen with GROUND TRUTH" in page
    assert "select" in {stage["stage"] for stage in record["stages"]}


def test_oracle_needs_masks(load, finished, tmp_path):
    recipe = load("vote.select=oracle", "data.masks=", CUT)
    with pytest.raises(DatasetError, match=r"data\.masks is not set"):
        plan(recipe, finished.work)
    (tmp_path / "none").mkdir()
    recipe = load("vote.select=oracle", f"data.masks={tmp_path / 'none'}", CUT)
    with pytest.raises(DatasetError, match=r"no mask of the train split; vote\.select"):
        plan(recipe, finished.work)


def test_support_beyond_the_selected_voters_is_told_when_it_is_known(load, work):
    asked = ("vote.select=oracle", "segment.min_support=4")
    plan(load(*asked), work)  # nobody knows yet
    _, selection, _ = selected(load, work, "oracle", asked[1])
    kept = selection["kept"]
    message = (
        rf"segment.min_support \(4\) is more than the {len(kept)} voters that "
        rf"vote.select = 'oracle' kept \({', '.join(kept)}\): set segment.min_support="
    )
    with pytest.raises(RecipeError, match=message):
        plan(load(*asked), work)
    with pytest.raises(RecipeError, match=message):
        run(load(*asked), work, runtime=RUNTIME)
    plan(load(asked[0], f"segment.min_support={len(kept)}"), work)


def test_resolved_recipe_loads_again(load):
    from tag2mask import Recipe

    recipe = load(*NARROW, WITH, "voters.a.mode=mc", "vote.select=oracle")
    text = json.dumps(recipe.model_dump(mode="json"))
    assert Recipe.model_validate_json(text) == recipe
