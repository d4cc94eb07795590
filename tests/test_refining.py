"""Refiners through the pipeline: before the vote, after it, killed and resumed."""

import json
import shutil
from statistics import mean

import pytest
import torch
from pydantic import ValidationError

from tag2mask import Runtime, load_recipe, plan, run
from tag2mask.artifacts.cams import read_cams
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.config import Recipe, Seeding, VoteIrnet, VoterIrnet
from tag2mask.errors import ModelError, RecipeError
from tag2mask.pipeline.statistics import statistics_of
from tag2mask.stages.refine import with_seeds
from test_resume import ALONE, check_whole, results, run_with_faults

RUNTIME = Runtime(workers=1)
SMALL = (
    ("dropout = [0.1, 0.3]", "dropout = [0.1]"),
    ("min_support = 3", "min_support = 1"),
    ("steps = 4", "steps = 1"),
    ("flip = true", "flip = false"),
    ("bootstrap = 20", "bootstrap = 0"),
)
IRNET = """
[{table}]
method = "irnet"
radius = 4
steps = 3
batch = 2
crop = 48
walk = {{ radius = 3, beta = 4.0, steps = 8 }}
background = 0.3
"""


@pytest.fixture(scope="module")
def refining_file(recipe_file, tmp_path_factory):
    """The tiny recipe with two voters, IRNet before the vote and after it."""
    text = recipe_file.read_text()
    for old, new in SMALL:
        assert old in text
        text = text.replace(old, new)
    text += IRNET.format(table="voters.a.refine")
    text += IRNET.format(table="vote.refine") + "min_support = 1\n"
    path = tmp_path_factory.mktemp("refining") / "refining.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def refining(refining_file):
    return lambda *overrides: load_recipe(refining_file, overrides)


class Done:
    def __init__(self, work, summary):
        self.work = work
        self.summary = summary
        self.record = json.loads(summary.read_text())

    def folder(self, *path):
        found = self.record["artifacts"]
        for part in path:
            found = found[part]
        return (self.summary.parent / found).resolve()


@pytest.fixture(scope="module")
def done(refining, tmp_path_factory):
    """That recipe, run once."""
    torch.manual_seed(0)
    work = tmp_path_factory.mktemp("refined") / "work"
    return Done(work, run(refining(), work, runtime=RUNTIME, name="refining"))


def todo(recipe, work):
    steps = plan(recipe, work, name="refining")
    return {f"{s.stage} {s.subject}".strip() for s in steps if s.state != "finished"}


LATER = {"segment deeplab_v2", "predict plain", "evaluate predict plain",
         "proxies predict plain", "report"}  # fmt: skip
AFTER = {"vote_refine vote", "evaluate vote_refine vote", "evaluate vote clean pixels"}
AFTER |= LATER
BALLOTS = {"refine a-0.1-1", "refine a-0.1-1.3", "evaluate refine a-0.1-1",
           "evaluate refine a-0.1-1.3", "vote", "proxies vote", "evaluate vote vote",
           "vote_irnet vote"} | AFTER  # fmt: skip
NETWORKS = {"irnet a-0.1-1", "irnet a-0.1-1.3"}


def test_all_is_finished_after_a_run(refining, done):
    assert todo(refining(), done.work) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("vote.refine.background=0.4", AFTER),
        ("vote.refine.walk.beta=3.0", AFTER),
        ("vote.refine.walk.damping=0", AFTER),
        ("vote.refine.alpha=3", AFTER),
        ("vote.refine.crf=seeds", AFTER),
        ("vote.refine.crf_shrink=2", AFTER),
        ("vote.refine.radius=3", AFTER | {"vote_irnet vote"}),
        ("vote.refine.min_support=2", AFTER | {"vote_irnet vote"}),
        ("vote.refine.displacement=true", AFTER | {"vote_irnet vote"}),
        ("voters.a.refine.background=0.4", BALLOTS),
        ("voters.a.refine.walk.steps=7", BALLOTS),
        ("voters.a.refine.labels.foreground=0.4", BALLOTS | NETWORKS),
        ("voters.a.refine.labels.source=seeds", BALLOTS | NETWORKS),
        ("voters.a.refine.steps=2", BALLOTS | NETWORKS),
        (
            'voters.a.refine.network={backbone="test_resnet", weights="none"}',
            BALLOTS | NETWORKS,
        ),
        ('vote.refine={method="none"}', LATER | {"evaluate vote clean pixels"}),
        ("voters.a.refine.method=crf", None),
    ],
)
def test_a_change_costs_what_depends_on_it(refining, done, change, expected):
    if expected is None:  # a table of another method has other keys
        with pytest.raises(
            RecipeError, match=r"voters\.a\.refine\.radius: there is no"
        ):
            refining(change)
        return
    assert todo(refining(change), done.work) == expected


def test_statistics_are_of_what_the_segmenter_learns_from(done):
    tables = {table.name: table for table in statistics_of(done.summary)}
    agree = {name: right for name, right, _ in tables["agreement"].rows}
    assert list(agree)[-2:] == ["vote", "vote, refined"]
    assert agree["vote"] != agree["vote, refined"]
    for _, clean_right, noisy_right, *_ in tables["marks"].rows:
        right = clean_right + noisy_right
        assert right == pytest.approx(agree["vote, refined"], abs=1e-3)
    protocol = done.record["clean_pixels"]["protocol"]
    assert protocol["refine"] == "irnet irnet"


def test_an_unrefined_recipe_is_the_one_that_it_was(load, finished):
    same = load('voters.a.refine={method="none"}', 'vote.refine={method="none"}')
    assert todo(same, finished.work) <= {"report"}
    assert {s.stage for s in plan(same, finished.work)}.isdisjoint(
        {"irnet", "refine", "vote_irnet", "vote_refine"}
    )


def test_scores_say_how_labels_were_refined(done):
    found = {(s["stage"], s["subject"]): s["protocol"] for s in done.record["scores"]}
    stages = [s["stage"] for s in done.record["scores"] if s["stage"] != "cam"]
    assert stages == ["seed", "refine"] * 2 + ["vote", "vote_refine", "predict"]
    refined = found["refine", "a-0.1-1.3"]
    assert refined["refine"] == "irnet"
    assert (refined["crf"], refined["threshold"]) == ("none", 0.3)
    assert refined["uses_truth"] is False
    assert "refine" not in found["seed", "a-0.1-1.3"]
    assert found["seed", "a-0.1-1.3"]["crf"] == "seeds"
    assert found["vote", "vote"]["refine"] == "irnet"
    assert found["vote", "vote"]["crf"] == "none"
    assert found["vote_refine", "vote"]["refine"] == "irnet irnet"


def test_seeds_teach_as_they_are(refining, done, tmp_path):
    """And labels of a walk may have the background score that seeds have."""
    work = tmp_path / "work"
    shutil.copytree(done.work, work)
    taught = refining("voters.a.refine.labels.source=seeds", "voters.a.refine.alpha=2")
    summary = run(taught, work, runtime=RUNTIME, until="refine")
    record = json.loads(summary.read_text())
    made = Done(work, summary)
    (voter, *_) = record["artifacts"]["voters"]
    seeds, taught_by = (
        LabelFolder(made.folder("voters", voter, stage) / "labels")
        for stage in ("seed", "irnet")
    )
    assert list(taught_by) == list(seeds)
    assert all(torch.equal(taught_by[name], seeds[name]) for name in seeds)
    score = next(each for each in record["scores"] if each["stage"] == "refine")
    assert "threshold" not in score["protocol"]


@pytest.mark.parametrize("found", ["alpha = 'otsu'", "background = 0.35"])
def test_a_walk_may_have_the_background_of_its_seeds(refining, done, tmp_path, found):
    """The same labels as with the number that the seeds have; the vote reads it too."""
    work = tmp_path / "work"
    shutil.copytree(done.work, work)
    seed = f"voters.a.seed={{{found}}}"
    mixed = (
        'vote={mode="scores", crf="none", voters=["a-0.1-1"], refine={method="none"}}'
    )
    asked = refining(seed, "voters.a.refine.alpha=seed", mixed)
    by_seed = Done(work, run(asked, work, runtime=RUNTIME, until="vote"))
    if "otsu" in found:
        alpha_file = by_seed.folder("voters", "a-0.1-1", "seed") / "alpha.json"
        number = f"voters.a.refine.alpha={json.loads(alpha_file.read_text())['alpha']}"
    else:
        number = "voters.a.refine.background=0.35"
    given = refining(seed, number, mixed)
    by_number = Done(work, run(given, work, runtime=RUNTIME, until="vote"))
    for path in (("voters", "a-0.1-1", "refine"), ("vote",)):
        one, two = (
            LabelFolder(each.folder(*path) / "labels") for each in (by_seed, by_number)
        )
        assert len(one) == 8
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert by_seed.folder("voters", "a-0.1-1", "refine") != by_number.folder(
        "voters", "a-0.1-1", "refine"
    )


def test_a_walk_after_the_vote_may_have_the_mean_background_of_its_voters(
    refining, done, tmp_path
):
    work = tmp_path / "work"
    shutil.copytree(done.work, work)
    asked = refining("voters.a.seed.alpha=otsu", "vote.refine.alpha=seed")
    by_seeds = Done(work, run(asked, work, runtime=RUNTIME, until="vote_refine"))
    found = [
        json.loads((by_seeds.folder("voters", v, "seed") / "alpha.json").read_text())
        for v in by_seeds.record["artifacts"]["voters"]
    ]
    alphas = [each["alpha"] for each in found]
    assert len(set(alphas)) == 2
    given = refining("voters.a.seed.alpha=otsu", f"vote.refine.alpha={mean(alphas)}")
    by_number = Done(work, run(given, work, runtime=RUNTIME, until="vote_refine"))
    one, two = (
        LabelFolder(each.folder("vote_refine") / "labels")
        for each in (by_seeds, by_number)
    )
    assert len(one) == 8
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_only_those_who_vote_give_a_walk_their_background(refining, done, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(done.work, work)
    one = 'vote.voters=["a-0.1-1"]', "voters.a.seed.alpha=otsu"
    asked = refining(*one, "vote.refine.alpha=seed")
    by_seed = Done(work, run(asked, work, runtime=RUNTIME, until="vote_refine"))
    alpha_file = by_seed.folder("voters", "a-0.1-1", "seed") / "alpha.json"
    alpha = json.loads(alpha_file.read_text())["alpha"]
    given = refining(*one, f"vote.refine.alpha={alpha}")
    by_number = Done(work, run(given, work, runtime=RUNTIME, until="vote_refine"))
    first, second = (
        LabelFolder(each.folder("vote_refine") / "labels")
        for each in (by_seed, by_number)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_background_of_seeds_is_walked_anew(refining, done):
    """IRNet of the voters reads maps: nothing else depends on their seeds."""
    asked = refining("vote.refine.alpha=seed")
    changed = refining("vote.refine.alpha=seed", "voters.a.seed.alpha=2.0")

    def key(recipe):
        (step,) = (s for s in plan(recipe, done.work) if s.stage == "vote_refine")
        return step.artifact.key

    assert key(asked) != key(changed)
    assert key(refining()) == key(refining("voters.a.seed.alpha=2.0"))


def test_a_walk_tells_that_its_background_came_from_the_truth(refining, done, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(done.work, work)
    for alpha, used in ((2.0, False), ("oracle", True)):
        asked = refining("vote.refine.alpha=seed", f"voters.a.seed.alpha={alpha}")
        summary = run(asked, work, runtime=RUNTIME, until="vote_refine")
        scores = json.loads(summary.read_text())["scores"]
        (score,) = (each for each in scores if each["stage"] == "vote_refine")
        assert score["protocol"]["uses_truth"] is used


@pytest.mark.parametrize(
    ("seeds", "alpha", "background"),
    [
        ([{"alpha": 3.0}], 3.0, 0.25),
        ([{"background": 0.4}], None, 0.4),
        ([{"alpha": 1.0}, {"alpha": 4.0}], 2.5, 0.25),
        # at 0.5 an object ties with (1 - 0.5) ^ 1
        ([{"background": 0.5}, {"alpha": 2.0}], 1.5, 0.25),
    ],
)
def test_backgrounds_of_several_seeds_are_averaged(seeds, alpha, background):
    asked = VoteIrnet(method="irnet", alpha="seed")
    found = with_seeds(asked, lambda: [Seeding(**each) for each in seeds])
    assert found.alpha == (None if alpha is None else pytest.approx(alpha))
    assert found.background == background


def test_refined_labels_vote(done):
    voters = done.record["artifacts"]["voters"]
    ballots = [
        LabelFolder(done.folder("voters", v, "refine") / "labels") for v in voters
    ]
    voted, support = (
        LabelFolder(done.folder("vote") / kind) for kind in ("labels", "support")
    )
    for name in voted:
        agree = sum((each[name] == voted[name]).to(torch.uint8) for each in ballots)
        assert torch.equal(agree, support[name])


def test_the_segmenter_learns_from_what_became_of_the_vote(done):
    manifest = json.loads((done.folder("segment") / "manifest.json").read_text())
    assert manifest["inputs"]["labels"] == done.folder("vote_refine").name
    refined = done.folder("vote_refine")
    scores = read_cams(refined / "scores", next(iter(LabelFolder(refined / "labels"))))
    assert scores.maps.amax() > 0


def test_boundaries_are_in_the_report(done):
    page = done.folder("report").read_text()
    kinds = ("seed", "boundaries", "refined", "vote", "clean")
    assert all(kind in page for kind in kinds)
    assert "Refined vote" in page


def test_until_stops_between_the_refiners(refining, tmp_path):
    steps = plan(refining(), tmp_path)
    stages = list(dict.fromkeys(step.stage for step in steps))
    order = ["seed", "irnet", "refine", "vote", "vote_irnet", "vote_refine", "segment"]
    assert [each for each in stages if each in order] == order


KILLS = (
    ("irnet", 3, "before"),  # the third of eight label maps
    ("irnet", 12, "after"),  # a log or checkpoint
    ("irnet", 3, "after"),
    ("irnet", 4, "before"),  # the weights, or boundaries in the middle of a batch
    ("refine", 3, "after"),  # scores without labels
    ("vote_irnet", 10, "before"),
    ("vote_irnet", 6, "after"),
    ("vote_refine", 2, "before"),  # support without labels
    ("vote_refine", 5, "after"),
)


def test_killed_in_each_refiner_and_run_again(done, refining_file, tmp_path):
    kills = [("files", *kill) for kill in KILLS]
    driven = run_with_faults(refining_file, tmp_path / "work", [*kills, ALONE])
    assert driven.statuses == [-9] * len(kills) + [0]
    check_whole(tmp_path / "work", results(done.work))


@pytest.mark.parametrize("stage", ["irnet", "vote_irnet"])
def test_a_backbone_that_cannot_be_is_told_before_any_training(
    refining, tmp_path, stage
):
    table = "voters.a.refine" if stage == "irnet" else "vote.refine"
    absent = refining(f'{table}.network={{backbone="resnetty"}}')
    with pytest.raises(ModelError, match="timm has no backbone 'resnetty'"):
        run(absent, tmp_path / "work", runtime=RUNTIME)
    assert not (tmp_path / "work" / "localize").exists()


def test_labels_of_a_vote_can_have_a_crf(refining, done):
    changed = refining('vote.refine={method="crf", preset="seeds"}')
    assert todo(changed, done.work) == AFTER
    summary = run(changed, done.work, runtime=RUNTIME, until="vote_refine")
    (score,) = (
        each
        for each in json.loads(summary.read_text())["scores"]
        if each["stage"] == "vote_refine"
    )
    assert score["protocol"]["refine"] == "irnet crf"
    assert score["protocol"]["crf"] == "seeds"


def test_a_vote_of_scores_reads_those_of_the_walk(refining, done):
    alone = refining(
        'vote={mode="scores", crf="none", voters=["a-0.1-1"], refine={method="none"}}'
    )
    summary = run(alone, done.work, runtime=RUNTIME, until="vote")
    made = Done(done.work, summary)
    voted = LabelFolder(made.folder("vote") / "labels")
    walked = LabelFolder(done.folder("voters", "a-0.1-1", "refine") / "labels")
    assert len(voted) == 8
    assert all(torch.equal(voted[name], walked[name]) for name in voted)


def test_where_no_voter_trains_a_vote_needs_a_backbone(refining):
    voters = 'voters={t={method="text_cam", scales=[1.0, 1.2]}}'
    with pytest.raises(RecipeError, match=r"vote\.refine: there is no trained network"):
        refining(voters)
    own = 'vote.refine.network={backbone="test_resnet", weights="none"}'
    assert refining(voters, own).vote.refine.network.backbone == "test_resnet"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("vote.refine.method=irn", r"vote\.refine\.method: .*mean 'irnet'"),
        (
            "vote.refine.labels={foreground=0.4}",
            r"vote\.refine\.labels: there is no such",
        ),
        ("vote.refine.min_support=3", r"vote\.refine\.min_support \(3\) is more than"),
        (
            "voters.a.refine.labels={foreground=0.1, background=0.2}",
            r"background \(0\.2\) must not exceed foreground \(0\.1\)",
        ),
        (
            'voters.t={method="text_cam", refine={method="irnet"}}',
            r"voters\.t\.refine: there is no trained network .* give it one: voters\.t",
        ),
        ("voters.a.refine.walk.radius=0", r"voters\.a\.refine\.walk\.radius: "),
    ],
)
def test_mistakes_are_told_by_key(refining, change, line):
    with pytest.raises(RecipeError, match=line):
        refining(change)


def test_defaults_are_the_published_ones():
    table = VoterIrnet(method="irnet")
    assert (table.radius, table.crop, table.batch) == (10, 512, 32)
    assert table.steps == 3 * 10_582 // 32
    assert (table.learning_rate, table.learning_rate * table.head_factor) == (0.1, 1.0)
    assert (table.momentum, table.weight_decay, table.power) == (0, 1e-4, 0.9)
    assert table.rescale == (0.5, 1.5)
    assert (table.labels.foreground, table.labels.background) == (0.30, 0.05)
    assert (table.walk.radius, table.walk.beta, table.walk.steps) == (5, 10, 256)
    assert table.background == 0.25
    assert not table.displacement
    assert table.network is None
    assert VoteIrnet(method="irnet").walk == table.walk
    with pytest.raises(ValidationError):
        Recipe.model_validate({"vote": {"refine": {"method": "none", "radius": 3}}})
