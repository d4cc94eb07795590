import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tag2mask import Runtime, config, load_recipe, plan, run
from tag2mask.artifacts.build import Request, build
from tag2mask.artifacts.files import file_digest, read_json
from tag2mask.artifacts.labels import read_index_png
from tag2mask.data.masks import MaskFolder
from tag2mask.errors import ArtifactError, DatasetError, ModelError, RecipeError
from tag2mask.pipeline import remake_report
from tag2mask.pipeline.builder import STAGES
from tag2mask.pipeline.score_table import protocol_words

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
RUNTIME = Runtime(workers=1)
PROTOCOL = {
    "split", "scales", "flip", "crf", "tags_at_test", "uses_truth", "init",
    "random_seed", "masks",
}  # fmt: skip


def todo(recipe, work):
    """Return what is to do, by stage and subject."""
    steps = plan(recipe, work, name="tiny")
    return {f"{s.stage} {s.subject}".strip() for s in steps if s.state != "finished"}


def files(work, *patterns):
    """Return the digest of every file whose bytes a run determines."""
    found = (
        path
        for pattern in patterns or ("labels/**/*.png", "support/**/*.png",
                                    "weights.safetensors", "score.json")
        for path in work.glob(f"*/*/{pattern}")
        if path.name != "summary.json"
    )  # fmt: skip
    return {path.relative_to(work).as_posix(): file_digest(path) for path in found}


def manifests(work):
    return {path.parents[0]: read_json(path) for path in work.glob("*/*/manifest.json")}


def test_plan_computes_nothing(load, tmp_path):
    steps = plan(load(), tmp_path / "work")
    assert not (tmp_path / "work").exists()
    assert {step.state for step in steps} == {"to do"}
    others = {"truth", "prompts", "select", "irnet", "refine"}
    others |= {"vote_irnet", "vote_refine", "relabel", "retrain"}
    assert {step.stage for step in steps} == set(STAGES) - others


def test_plan_names_each_stage_before_what_needs_it(load, tmp_path):
    stages = [step.stage for step in plan(load(), tmp_path)]
    ends = [len(stages) - 1 - stages[::-1].index(stage) for stage in ("seed", "vote")]
    assert ends[0] < stages.index("vote") < stages.index("segment")
    assert stages[0] == "index"
    assert stages[-1] == "report"


def test_after_a_run_all_is_finished(load, finished):
    assert todo(load(), finished.work) == set()


def test_changed_support_needs_a_training_and_no_new_vote(load, finished):
    assert todo(load("segment.min_support=2"), finished.work) == {
        "segment deeplab_v2",
        "predict plain",
        "predict final",
        "evaluate predict plain",
        "evaluate predict final",
        "proxies predict plain",
        "proxies predict final",
        "report",
    }


def test_segmenter_can_start_from_a_voter(load, finished, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(finished.work, work)
    changes = ("segment.init_from=a", "segment.learning_rate=1e-9", "report.panels=0")
    changes += ("segment.weights=hub", "segment.weight_decay=0.0")  # not looked at
    planned = todo(load(*changes), work)
    assert not any(
        each.startswith(("localize", "cam", "seed", "vote")) for each in planned
    )
    summary = run(load(*changes), work, runtime=RUNTIME, until="segment")
    artifacts = read_json(summary)["artifacts"]
    folder = (summary.parent / artifacts["segment"]).resolve()
    voter = read_json(folder / "manifest.json")["inputs"]["init"]
    found, first = (
        load_file(each / "weights.safetensors")["backbone.net.layer1.0.conv1.weight"]
        for each in (folder, work / "localize" / voter)
    )
    torch.testing.assert_close(found, first)
    assert read_json(folder / "model.json")["init"] == "test_resnet: voter a"
    other = load("segment.init_from=a", "voters.a.steps=7")
    assert "segment deeplab_v2" in todo(other, work)


def test_changed_seed_needs_no_new_cams(load, finished):
    found = todo(load("voters.a.seed={alpha=1.0}"), finished.work)
    assert not any(each.startswith(("index", "localize", "cam ")) for each in found)
    assert {each for each in found if each.startswith("seed")} == {
        f"seed a-{dropout}-{scale}" for dropout in ("0.1", "0.3") for scale in (1, 1.3)
    }
    assert "vote" in found
    assert "evaluate cam a-0.1-1" not in found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("evaluate.cam_threshold=0.3", {f"evaluate cam a-{v}" for v in
                                        ("0.1-1", "0.1-1.3", "0.3-1", "0.3-1.3")}),
        ("report.panels=2", set()),
        ("report.clean_at=[1]", set()),
        ("predict.scales=[0.5]", {"predict final", "evaluate predict final",
                                  "proxies predict final"}),
    ],
)  # fmt: skip
def test_a_changed_knob_makes_what_depends_on_it(load, finished, change, expected):
    assert todo(load(change), finished.work) == expected | {"report"}


@pytest.mark.parametrize("change", ["voters.a.steps=7", "random_seed=1"])
def test_a_changed_training_keeps_the_index_only(load, finished, change):
    done = [s.stage for s in plan(load(change), finished.work) if s.state == "finished"]
    assert done == ["index"]


def test_voters_are_dropouts_times_scales(load, tmp_path):
    recipe = load("voters.a.dropout=[0.05, 0.2]", "voters.a.scales=[0.5, 1.0, 1.25]")
    steps = plan(recipe, tmp_path)
    assert [step.subject for step in steps if step.stage == "localize"] == [
        "a-0.05",
        "a-0.2",
    ]
    assert [step.subject for step in steps if step.stage == "seed"] == [
        f"a-{dropout}-{scale}" for dropout in (0.05, 0.2) for scale in ("0.5", 1, 1.25)
    ]


def test_a_protocol_that_is_plain_is_predicted_once(load, tmp_path):
    steps = plan(load("predict.flip=false"), tmp_path)
    assert [step.subject for step in steps if step.stage == "predict"] == ["plain"]


def test_presence_is_of_the_plain_protocol_too(load, tmp_path):
    recipe = load("predict.presence=2.0")
    assert recipe.predict.plain == config.Predict(presence=2.0)
    steps = plan(load("predict.presence=2.0", "predict.flip=false"), tmp_path)
    assert [step.subject for step in steps if step.stage == "predict"] == ["plain"]


def test_presence_is_predicted_scored_and_told(finished, load, tmp_path):
    work = shutil.copytree(finished.work, tmp_path / "work")
    record = read_json(run(load("predict.presence=8.0"), work, runtime=RUNTIME))
    plain, final = (s for s in record["scores"] if s["stage"] == "predict")
    assert (plain["protocol"]["presence"], final["protocol"]["presence"]) == (8.0, 8.0)
    assert protocol_words(plain["protocol"]) == ["scales 1", "presence 8"]
    (before, _) = (s for s in finished.record["scores"] if s["stage"] == "predict")
    assert "presence" not in before["protocol"]
    assert plain["miou"] != before["miou"]
    made = {each["stage"] for each in record["stages"] if not each["reused"]}
    assert made == {"predict", "evaluate", "proxies", "report"}


def test_without_presence_labels_are_named_as_before_there_was_any():
    assert "presence" not in config.Predict().told()
    assert config.Predict(presence=1.0).told()["presence"] == 1.0


def test_summary_has_the_keys_of_the_interface(finished):
    record = finished.record
    assert set(record) == {
        "version", "name", "recipe", "scores", "clean_pixels", "proxies", "notes",
        "warnings", "stages", "artifacts",
    }  # fmt: skip
    for score in record["scores"]:
        assert set(score) >= {"stage", "subject", "miou", "per_class", "protocol"}
        extra = {"threshold", "threshold_chosen"} if score["stage"] == "cam" else set()
        assert set(score["protocol"]) == PROTOCOL | extra
    for stage in record["stages"]:
        assert set(stage) == {
            "stage", "subject", "key", "seconds", "images_per_second", "reused",
        }  # fmt: skip
        assert (
            finished.work / stage["stage"] / stage["key"] / "manifest.json"
        ).exists()
        assert not stage["reused"]
    assert load_again(record["recipe"]) == record["recipe"]


def load_again(recipe):
    from tag2mask import Recipe

    return Recipe.model_validate_json(json.dumps(recipe)).model_dump(mode="json")


def test_paths_of_the_summary_start_from_its_folder(finished):
    def paths(value):
        if isinstance(value, dict):
            for each in value.values():
                yield from paths(each)
        else:
            yield value

    found = list(paths(finished.record["artifacts"]))
    assert len(found) == 1 + 4 * 3 + 1 + 1 + 2 + 1
    assert all((finished.summary.parent / path).exists() for path in found)
    assert not any(Path(path).is_absolute() for path in found)


def test_scores_are_percent_and_stand_in_the_order_of_the_stages(finished):
    scores = finished.record["scores"]
    subjects = [(score["stage"], score["subject"]) for score in scores]
    voters = [f"a-{d}-{s}" for d in ("0.1", "0.3") for s in ("1", "1.3")]
    assert subjects == [
        (stage, voter) for voter in voters for stage in ("cam", "cam", "cam", "seed")
    ] + [("vote", "vote"), ("predict", "plain"), ("predict", "final")]
    for score in scores:
        known = [value for value in score["per_class"].values() if value is not None]
        assert score["miou"] == pytest.approx(sum(known) / len(known), abs=1e-3)
        assert 1 < score["miou"] <= 100


def test_protocol_says_how_each_score_came_about(finished):
    by_subject = {
        (score["stage"], score["subject"]): dict(score["protocol"])
        for score in finished.record["scores"]
    }
    masks = {
        split: {p.pop("masks") for p in by_subject.values() if p["split"] == split}
        for split in ("train", "val")
    }
    assert [len(digests) for digests in masks.values()] == [1, 1]
    assert masks["train"] != masks["val"]
    common = {"uses_truth": False, "init": "test_resnet: random", "random_seed": 0}
    trained = {"split": "train", "tags_at_test": True, **common}
    unseen = {"split": "val", "scales": [1.0], "crf": "none", "tags_at_test": False}
    assert by_subject["seed", "a-0.1-1.3"] == trained | {
        "scales": [1.3],
        "flip": False,
        "crf": "seeds",
    }
    assert by_subject["vote", "vote"] == trained | {
        "scales": [1.0, 1.3],
        "flip": False,
        "crf": "seeds",
    }
    assert by_subject["predict", "plain"] == unseen | common | {"flip": False}
    assert by_subject["predict", "final"] == unseen | common | {"flip": True}
    oracle = by_subject["cam", "a-0.1-1"]
    assert (oracle["threshold_chosen"], oracle["uses_truth"]) == ("oracle", True)


def test_clean_pixels_are_told_for_each_threshold(finished):
    table = finished.record["clean_pixels"]["by_min_support"]
    assert [row["min_support"] for row in table] == [1, 2, 3, 4]
    coverage = [row["coverage"] for row in table]
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[0] == 100
    assert coverage[-1] < 100


def test_a_second_run_reuses_all(load, finished, tmp_path):
    shutil.copytree(finished.work, tmp_path / "work")
    summary = run(load(), tmp_path / "work", runtime=RUNTIME, name="tiny")
    assert all(stage["reused"] for stage in read_json(summary)["stages"])
    everything = ("*.*", "*/*.*")
    assert files(tmp_path / "work", *everything) == files(finished.work, *everything)


@pytest.fixture(scope="module")
def without_masks(world, recipe_file, tmp_path_factory):
    """The same run in a folder that has no masks, with another number of workers."""
    root = tmp_path_factory.mktemp("without")
    shutil.copytree(world, root / "world", ignore=shutil.ignore_patterns("masks"))
    text = recipe_file.read_text().replace('masks = "masks"\n', "")
    (root / "plain.toml").write_text(text)
    recipe = load_recipe(root / "plain.toml", [f"data.root={root / 'world'}"])
    return run(recipe, root / "work", runtime=Runtime(workers=2), name="plain")


def test_ground_truth_never_reaches_training(finished, without_masks):
    """With and without masks: byte for byte the same weights and labels."""
    patterns = ("labels/**/*.png", "support/**/*.png", "weights.safetensors")
    patterns += ("cams/**/*.npz", "images.jsonl", "log.csv")
    found = files(without_masks.parents[2], *patterns)
    assert found == files(finished.work, *patterns)
    assert len([name for name in found if name.endswith("safetensors")]) == 3


def test_folder_without_masks_is_told_of_by_proxies(without_masks):
    record = read_json(without_masks)
    assert record["scores"] == []
    assert record["clean_pixels"] is None
    assert set(record["proxies"]) == {
        "tags of a-0.1",
        "tags of a-0.3",
        "vote",
        "predict plain",
        "predict final",
    }
    assert 0 < record["proxies"]["tags of a-0.1"]["tag_map"] <= 100
    assert set(record["proxies"]["vote"]["agreement"]) == set(
        record["artifacts"]["voters"]
    )
    page = (without_masks.parent / record["artifacts"]["report"]).read_text()
    assert "<html" in page
    work = without_masks.parents[2]
    assert not any(each["uses_truth"] for each in manifests(work).values())


def test_masks_mark_scores_and_report_only(finished):
    for folder, manifest in manifests(finished.work).items():
        expected = folder.parent.name in ("evaluate", "report")
        assert manifest["uses_truth"] == expected, folder


def test_only_index_scores_and_report_open_a_mask(load, tmp_path, monkeypatch):
    opened = set()
    began = []
    read = MaskFolder.read

    def watched(self, name, **knobs):
        opened.add(began[-1])
        return read(self, name, **knobs)

    class Ear:
        def say(self, text):
            began.append(text.split()[0])

        def task(self, title, total, *, done=0):
            return RUNTIME.progress.task(title, total, done=done)

    monkeypatch.setattr(MaskFolder, "read", watched)
    runtime = Runtime(workers=1)
    object.__setattr__(runtime, "progress", Ear())
    changes = ("voters.a.steps=1", "voters.a.dropout=0.1", "voters.a.scales=1.0")
    run(load(*changes, "segment.steps=1", "segment.min_support=1"), tmp_path,
        runtime=runtime)  # fmt: skip
    assert {"localize", "cam", "seed", "vote", "segment", "predict"} <= set(began)
    assert opened <= {"index", "evaluate", "report"}


def test_what_is_made_from_truth_says_so_however_it_is_asked_for(tmp_path):
    """A request that denies the truth inherits it from its inputs all the same."""

    def nothing(_):
        pass

    truth = build(tmp_path, Request("truth", 1, {}, {}, uses_truth=True), nothing)
    middle = build(tmp_path, Request("segment", 1, {}, {"labels": truth}), nothing)
    last = build(
        tmp_path, Request("predict", 1, {}, {"x": middle}, uses_truth=False), nothing
    )
    clean = build(tmp_path, Request("vote", 1, {}, {}), nothing)
    assert [each.uses_truth for each in (truth, middle, last, clean)] == [
        True, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "data.tags=masks",
        "vote.labels=truth",
        "voters.a.seed.labels=truth",
        "voters.a.method=truth",
        "voters.a.saliency={folder='masks'}",
        "vote.select=truth",
        "segment.masks=masks",
        "segment.labels=masks",
        "predict.labels=truth",
    ],
)
def test_smuggling_ground_truth_into_a_recipe_fails(load, tmp_path, change):
    with pytest.raises((RecipeError, DatasetError)):
        run(load(change), tmp_path, runtime=RUNTIME)


def test_weights_of_a_ceiling_do_not_pass_for_a_backbone(ceiling, load, tmp_path):
    trained = next((ceiling.parents[2] / "segment").glob("*/weights.safetensors"))
    with pytest.raises(ModelError, match="is not of"):
        run(load(f"voters.a.weights={trained}"), tmp_path, runtime=RUNTIME)


@pytest.fixture(scope="module")
def ceiling(load, tmp_path_factory):
    work = tmp_path_factory.mktemp("ceiling")
    return run(load("segment.labels=truth"), work, runtime=RUNTIME)


def test_the_ceiling_says_that_it_uses_truth(ceiling):
    record = read_json(ceiling)
    assert {stage["stage"] for stage in record["stages"]} == {
        "index", "truth", "segment", "predict", "evaluate", "proxies", "report",
    }  # fmt: skip
    assert [score["protocol"]["uses_truth"] for score in record["scores"]] == [True] * 2
    for folder, manifest in manifests(ceiling.parents[2]).items():
        assert manifest["uses_truth"] == (folder.parent.name != "index"), folder


def test_the_ceiling_learns_from_the_masks(ceiling, finished, world):
    work = ceiling.parents[2]
    (labels,) = work.glob("truth/*/labels")
    for mask in world.glob("masks/train_*.png"):
        assert (read_index_png(labels / mask.name) == read_index_png(mask)).all()
    (weights,) = work.glob("segment/*/weights.safetensors")
    ours = finished.folder("segment") / "weights.safetensors"
    assert file_digest(weights) != file_digest(ours)


def test_the_ceiling_needs_masks(recipe_file, tmp_path):
    text = recipe_file.read_text().replace('masks = "masks"\n', "")
    (tmp_path / "r.toml").write_text(text)
    recipe = load_recipe(tmp_path / "r.toml", ["segment.labels=truth"])
    with pytest.raises(DatasetError, match=r"data\.masks is not set"):
        plan(recipe, tmp_path)


SHORT = (
    "voters.a.steps=1",
    "voters.a.dropout=0.1",
    "voters.a.scales=1.0",
    "segment.steps=1",
    "segment.min_support=1",
    "predict.flip=false",
    "report.panels=0",
)


def test_until_stops_after_a_stage(load, tmp_path):
    record = read_json(run(load(*SHORT), tmp_path, runtime=RUNTIME, until="seed"))
    assert {stage["stage"] for stage in record["stages"]} == {
        "index", "localize", "cam", "seed", "evaluate", "proxies",
    }  # fmt: skip
    assert {score["stage"] for score in record["scores"]} == {"cam", "seed"}
    assert record["artifacts"]["segment"] is None
    assert record["artifacts"]["report"] is None
    with pytest.raises(ArtifactError, match="not finished"):
        remake_report(tmp_path)
    record = read_json(run(load(*SHORT), tmp_path, runtime=RUNTIME, until="index"))
    assert {stage["stage"] for stage in record["stages"]} == {
        "index",
        "localize",
        "cam",
        "seed",
        "evaluate",
        "proxies",
    }  # fmt: skip  (what is finished stays listed, or `clean` would delete it)


def test_without_a_val_split_the_train_images_are_predicted(load, tmp_path):
    recipe = load(*SHORT, "data.splits={train='train', val='unused'}")
    record = read_json(run(recipe, tmp_path, runtime=RUNTIME))
    (score,) = (each for each in record["scores"] if each["stage"] == "predict")
    assert score["protocol"]["split"] == "train"
    assert score["num_images"] == 8
    assert record["notes"] == ["4 images are of neither split: left out"]


def test_random_seed_changes_what_is_trained(load, finished, tmp_path):
    summary = run(load("random_seed=1"), tmp_path, runtime=RUNTIME, until="localize")
    ours = set(files(finished.work, "weights.safetensors").values())
    theirs = set(files(summary.parents[2], "weights.safetensors").values())
    assert len(theirs) == 2
    assert not ours & theirs


def test_equal_runs_in_two_folders_are_equal(load, finished, tmp_path):
    run(load(), tmp_path, runtime=Runtime(workers=3), name="other")
    assert files(tmp_path) == files(finished.work)


def test_a_local_weights_file_counts_by_its_content(load, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"one")
    (tmp_path / "b.safetensors").write_bytes(b"one")
    (tmp_path / "c.safetensors").write_bytes(b"two")
    keys = []
    for name in "abc":
        recipe = load(f"segment.weights={tmp_path / name}.safetensors")
        steps = plan(recipe, tmp_path / "work")
        (step,) = (step for step in steps if step.stage == "segment")
        keys.append(step.artifact.key)
    assert keys[0] == keys[1] != keys[2]


def test_missing_weights_are_told_by_the_plan(load, tmp_path):
    recipe = load("segment.weights=nowhere.pth")
    with pytest.raises(ModelError, match=r"no weights file .*nowhere\.pth"):
        plan(recipe, tmp_path)


def test_the_report_shows_what_other_thresholds_call_clean(load, finished, tmp_path):
    shutil.copytree(finished.work, tmp_path / "work")
    summary = run(load("report.clean_at=[1]"), tmp_path / "work", runtime=RUNTIME)
    shown = [
        (made.parent / read_json(made)["artifacts"]["report"]).read_text()
        for made in (finished.summary, summary)
    ]
    assert ["with 1 or more votes" in page for page in shown] == [False, True]


def test_a_report_that_was_deleted_is_made_again(finished, tmp_path):
    shutil.copytree(finished.work, tmp_path / "work")
    summary = tmp_path / "work" / finished.summary.relative_to(finished.work)
    record = summary.read_bytes()
    (page,) = (tmp_path / "work" / "report").glob("*/index.html")
    text = page.read_bytes()
    shutil.rmtree(page.parent)
    assert remake_report(summary, runtime=RUNTIME) == page
    assert page.read_bytes() == text
    shutil.rmtree(page.parent)
    shutil.rmtree(tmp_path / "work" / "evaluate")
    assert remake_report(tmp_path / "work", runtime=RUNTIME) == page
    assert page.exists()
    assert summary.read_bytes() == record


def test_a_report_trains_nothing(finished, tmp_path):
    shutil.copytree(finished.work, tmp_path / "work")
    shutil.rmtree(next((tmp_path / "work" / "segment").iterdir()))
    with pytest.raises(ArtifactError, match=r"segment/\w+ is not finished"):
        remake_report(tmp_path / "work", runtime=RUNTIME)
    assert not list((tmp_path / "work" / "segment").iterdir())


def test_a_summary_of_another_version_is_refused(finished, tmp_path):
    record = finished.record | {"recipe": {"data": {"folder": "x"}}}
    (tmp_path / "summary.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="run its recipe again"):
        remake_report(tmp_path / "summary.json")
