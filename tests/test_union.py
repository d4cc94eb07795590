"""Voters of several kinds in one vote, through the pipeline."""

import shutil
from pathlib import Path

import pytest

from tag2mask import Runtime, load_recipe, plan, run
from tag2mask.artifacts.cams import read_cams
from tag2mask.artifacts.files import file_digest, read_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.config.study_load import load_study
from tag2mask.config.study_schema import Study
from tag2mask.errors import ModelError, RecipeError
from tag2mask.pipeline.study import plan_study

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
RUNTIME = Runtime(workers=1)
TEXT = """
[voters.t]
method = "text_cam"
image_text = { adapter = "tiny" }
scales = [1.0, 1.5]
cam = { scales = [1.0], flip = false }
seed = { crf = "none" }
"""
STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("multi-seed-*.toml"))
STUDIES = [path for path in STUDIES if "-table-" not in path.stem]  # see test_recipes


@pytest.fixture(scope="module")
def union(recipe_file, tmp_path_factory):
    """Load the tiny recipe with two voters of texts, and overrides."""
    path = tmp_path_factory.mktemp("union") / "union.toml"
    path.write_text(recipe_file.read_text() + TEXT)
    return lambda *overrides: load_recipe(path, overrides)


@pytest.fixture(scope="module")
def work(union, finished, tmp_path_factory):
    """A work folder in which the vote of the union is done."""
    work = tmp_path_factory.mktemp("union-work") / "work"
    shutil.copytree(finished.work, work)
    run(union(), work, runtime=RUNTIME, until="vote", name="union")
    return work


def todo(recipe, work, *stages):
    return {
        (step.stage, step.subject)
        for step in plan(recipe, work, name="union")
        if step.state != "finished" and step.stage in stages
    }


MAKING = ("index", "prompts", "localize", "cam", "seed", "vote")


def folder_of(recipe, work, stage, subject=""):
    for step in plan(recipe, work, name="union"):
        if (step.stage, step.subject) == (stage, subject):
            return step.artifact.folder
    raise LookupError(stage, subject)


def test_voters_of_texts_train_nothing_and_vote(union, work):
    steps = plan(union(), work)
    assert [s.subject for s in steps if s.stage == "localize"] == ["a-0.1", "a-0.3"]
    assert todo(union(), work, *MAKING) == set()
    record = read_json(next(work.glob("runs/union-*/summary.json")))
    voters = record["artifacts"]["voters"]
    assert list(voters)[-2:] == ["t-1", "t-1.5"]
    assert voters["t-1"]["localize"] is None
    (score,) = (
        each
        for each in record["scores"]
        if (each["stage"], each["subject"]) == ("seed", "t-1.5")
    )
    assert score["protocol"]["init"] == "tiny: not trained"
    assert score["protocol"]["scales"] == [1.5]
    assert not score["protocol"]["uses_truth"]
    assert len(record["clean_pixels"]["by_min_support"]) == 6
    assert set(record["proxies"]["vote"]["agreement"]) == set(voters)
    assert "tags of t" not in record["proxies"]


def test_maps_of_texts_are_maps_of_tags(union, work):
    cams = folder_of(union(), work, "cam", "t-1")
    images = sorted((cams / "cams").glob("*.npz"))
    assert len(images) == 8
    for path in images:
        found = read_cams(cams / "cams", path.stem)
        assert found.maps.shape[1:] == (12, 12)  # stride 4 of 48 pixels
        assert found.maps.min() >= 0
        assert found.maps.amax(dim=(1, 2)).max() <= 1


def test_maps_that_are_cut_short_are_made_again(union, work, tmp_path):
    shutil.copytree(work, tmp_path / "work")
    cams = folder_of(union(), tmp_path / "work", "cam", "t-1")
    before = {path.name: file_digest(path) for path in cams.glob("cams/*.npz")}
    (cams / "manifest.json").unlink()
    for path in sorted(cams.glob("cams/*.npz"))[3:]:
        path.unlink()
    run(union(), tmp_path / "work", runtime=RUNTIME, until="vote")
    after = {path.name: file_digest(path) for path in cams.glob("cams/*.npz")}
    assert after == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("segment.min_support=2", set()),
        ("voters.t.suppress_words=true", {"cam", "seed", "vote"}),
        ("voters.t.cam.contrast=false", {"cam", "seed", "vote"}),
        ("voters.t.seed.background=0.3", {"seed", "vote"}),
        ("voters.t.prompts.words=3", {"prompts", "cam", "seed", "vote"}),
        ("vote.tie=probability", {"vote"}),
        ("vote.mode=scores", {"vote"}),
        ("vote.weights.t=2.0", {"vote"}),
        ("vote.weights={a=2.0,t=2.0}", set()),  # as one each
        ('vote.voters=["a","t"]', set()),
        ('vote.voters=["a"]', set()),  # which the run without voters of texts made
        ('vote.voters=["a-0.1-1", "t"]', {"vote"}),
        ("vote.crf=none", set()),  # of labels there is none
    ],
)
def test_a_change_costs_what_depends_on_it(union, work, change, expected):
    found = {stage for stage, _ in todo(union(change), work, *MAKING)}
    assert found == expected


@pytest.mark.parametrize("knob", ["suppress_words=true", "cam.contrast=false"])
def test_knobs_of_texts_change_the_maps(union, work, tmp_path, knob):
    shutil.copytree(work, tmp_path / "work")
    changed = union(f"voters.t.{knob}", "voters.t.scales=[1.0]")
    run(changed, tmp_path / "work", runtime=RUNTIME, until="cam")
    name = "train_00000"
    one, other = (
        read_cams(folder_of(recipe, tmp_path / "work", "cam", "t-1") / "cams", name)
        for recipe in (union(), changed)
    )
    assert (one.maps != other.maps).any()


def test_weight_0_and_absence_are_one_vote(union, finished, load):
    kept = union("vote.weights.t=0")
    assert (
        folder_of(kept, finished.work, "vote")
        == folder_of(union('vote.voters=["a"]'), finished.work, "vote")
        == folder_of(load(), finished.work, "vote")
    )


def test_scores_are_joined_by_another_vote(union, work, tmp_path):
    shutil.copytree(work, tmp_path / "work")
    found = []
    for change in ("vote.mode=labels", "vote.mode=scores", "vote.tie=probability"):
        recipe = union(change, "segment.min_support=1")
        summary = run(recipe, tmp_path / "work", runtime=RUNTIME, until="vote")
        folder = folder_of(recipe, tmp_path / "work", "vote")
        found.append(LabelFolder(folder / "labels"))
        protocol = next(
            each["protocol"]
            for each in read_json(summary)["scores"]
            if each["stage"] == "vote"
        )
        # of seeds with and without; of scores there is one
        assert protocol["crf"] == ("seeds" if "scores" in change else "none seeds")
    for other in found[1:]:
        assert any((found[0][name] != other[name]).any() for name in found[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('vote.voters=["b"]', "vote.voters: there is no voter 'b'.* there are a-0.1-1"),
        ("vote.weights.t-2=1.0", r"vote.weights: .* 't-2'; did you mean 't-1'\?"),
        ("vote.weights={a=0,t=0}", "vote.weights leaves no voter"),
        ('vote.voters=["t"]', r"min_support \(3\) is more than .* vote \(2\)"),
        ("vote.weights.a=-1", "vote.weights.a: Input should be greater than or equal"),
        ("segment.init_from=t", "voter 't' trains no network to start from"),
        ("voters.t.image_text.adapter=open_clip", "there is no adapter 'open_clip'"),
        ("voters.t.steps=3", "voters.t.steps: there is no such key with this method"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(
    union, tmp_path, change, message
):
    with pytest.raises(RecipeError, match=message):
        plan(union(change), tmp_path)


def test_own_weight_goes_before_that_of_the_table(union, work):
    by_table = union("vote.weights={t=2.0}")
    by_name = union("vote.weights={t=5.0, t-1=2.0, 't-1.5'=2.0}")
    assert folder_of(by_table, work, "vote") == folder_of(by_name, work, "vote")


def test_a_study_of_t_costs_a_training_each_and_no_new_seed(recipe_file, tmp_path):
    """As shown by the plan of an empty work folder."""
    study = Study.model_validate(
        {
            "title": "t",
            "recipe": str(recipe_file),
            "score": {"stage": "predict", "subject": "plain"},
            "random_seeds": (0,),
            "grid": {"segment.min_support": (1, 2, 3, 4)},
        }
    )
    first, *others = plan_study(study, tmp_path)
    stages = [artifact.stage for artifact in first.todo]
    assert (stages.count("localize"), stages.count("seed")) == (2, 4)
    assert (stages.count("vote"), stages.count("segment")) == (1, 1)
    for each in others:
        new = [a.stage for a in each.todo if a.stage not in ("evaluate", "proxies")]
        assert sorted(new) == ["predict", "predict", "segment"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_of_the_paper_can_be_planned(path, world, tmp_path):
    overrides = (f"data.root={world}",)
    planned = plan_study(load_study(path), tmp_path, overrides=overrides)
    assert planned
    trained = {a for each in planned for a in each.artifacts if a.stage == "localize"}
    seeds = len({each.trial.random_seed for each in planned})
    assert len(trained) == seeds * (2 if "aggregation" in path.stem else 4)


def test_a_text_voter_that_cannot_be_had_is_told_first(union, tmp_path):
    absent = union(f"voters.t.image_text.folder={tmp_path / 'absent'}")
    with pytest.raises(ModelError, match="absent"):
        run(absent, tmp_path / "work", runtime=RUNTIME)
    assert not (tmp_path / "work" / "localize").exists()


def test_the_report_of_a_union_shows_its_voters(union, work, tmp_path):
    shutil.copytree(work, tmp_path / "work")
    changes = ('vote.voters=["t"]', "segment.min_support=2", "segment.steps=1")
    summary = run(union(*changes), tmp_path / "work", runtime=RUNTIME, name="union")
    record = read_json(summary)
    assert set(record["proxies"]["vote"]["agreement"]) == {"t-1", "t-1.5"}
    assert len(record["clean_pixels"]["by_min_support"]) == 2
    page = (summary.parent / record["artifacts"]["report"]).read_text()
    assert "t-1.5" in page
