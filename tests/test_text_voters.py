"""Voters taught by an image-text model, through the pipeline."""

import pytest

from tag2mask import Runtime, load_recipe, plan, run
from tag2mask.artifacts.files import read_json
from tag2mask.errors import ModelError

VOTERS = """
[voters.t]
method = "ca_cl"
image_text = { adapter = "tiny" }
backbone = "test_resnet"
weights = "none"
output_stride = 8
freeze = []
steps = 3
batch = 4
crop = 48
learning_rate = 1e-3
cam = { scales = [1.0], flip = false }
[voters.t.classifier]
freeze = []
dropout = 0.1
steps = 6
batch = 4
crop = 48
rescale = [0.5, 1.0]
optimizer = "adamw"
learning_rate = 1e-2
weight_decay = 5e-4
freeze_batch_norm = false
"""


@pytest.fixture(scope="module")
def taught(recipe_file, tmp_path_factory):
    """Load the tiny recipe with such a voter, and overrides."""
    path = tmp_path_factory.mktemp("taught") / "taught.toml"
    path.write_text(recipe_file.read_text() + VOTERS)
    return lambda *overrides: load_recipe(path, overrides)


@pytest.fixture(scope="module")
def work(taught, tmp_path_factory):
    """A work folder in which its votes are done."""
    work = tmp_path_factory.mktemp("taught-work")
    run(taught(), work, runtime=Runtime(workers=1), until="vote")
    return work


def todo(recipe, work):
    """Stages and subjects that are to do, up to the vote."""
    return {
        (step.stage, step.subject)
        for step in plan(recipe, work)
        if step.state != "finished" and step.stage in ("prompts", "localize", "vote")
    }


def test_a_taught_voter_votes(taught, work):
    assert todo(taught(), work) == set()
    summary = next(work.glob("runs/*/summary.json"))
    record = read_json(summary)
    assert "t-1" in record["artifacts"]["voters"]
    (score,) = (
        each
        for each in record["scores"]
        if (each["stage"], each["subject"]) == ("seed", "t-1")
    )
    assert score["protocol"]["init"] == (
        "test_resnet: random, warm start, taught by tiny"
    )


def test_the_warm_start_is_the_classifier_voter(taught, work):
    localized = [
        step.subject for step in plan(taught(), work) if step.stage == "localize"
    ]
    # a-0.1 has the same network, schedule and dropout: it is trained once
    assert localized == ["a-0.1", "a-0.3", "t"]


def test_an_image_text_model_is_opened_before_any_training(taught, tmp_path):
    absent = taught(f"voters.t.image_text.folder={tmp_path / 'absent'}")
    with pytest.raises(ModelError, match="absent"):
        run(absent, tmp_path / "work", runtime=Runtime(workers=1))
    assert not (tmp_path / "work" / "localize").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("voters.t.margin=0.4", {("localize", "t"), ("vote", "")}),
        ("voters.t.gate.quantile=0.6", {("localize", "t"), ("vote", "")}),
        ("voters.t.pairs_at_once=2", set()),
        (
            "voters.t.prompts.words=3",
            {("prompts", "t"), ("localize", "t"), ("vote", "")},
        ),
        (
            "voters.t.classifier.steps=5",
            {("localize", "t-warm-start"), ("localize", "t"), ("vote", "")},
        ),
        ("voters.t.warm_start=false", {("localize", "t"), ("vote", "")}),
        (  # which calls the classes otherwise, in one context
            "voters.t.method=clims",
            {("prompts", "t"), ("localize", "t"), ("vote", "")},
        ),
    ],
)
def test_a_change_costs_what_depends_on_it(taught, work, change, expected):
    assert todo(taught(change), work) == expected
