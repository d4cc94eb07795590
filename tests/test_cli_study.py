"""``tag2mask study``: runs, a plan, and what a user may get wrong."""

import shutil
from functools import partial
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
STUDY = """
title = "Temperatures"
recipe = "{recipe}"
score = {{ stage = "cam", subject = "a-0.1-1", threshold = "oracle" }}
random_seeds = [0]
quoted_from = "Somewhere, table 1"
[grid]
"segment.tau" = [0.1, 0.2]
[quoted]
"tau = 0.2" = 12.5
"""


@pytest.fixture
def call(call_cli):
    """Run ``tag2mask study``."""
    return partial(call_cli, "study")


@pytest.fixture
def file(recipe_file, tmp_path):
    path = tmp_path / "temperatures.toml"
    path.write_text(STUDY.format(recipe=recipe_file))
    return path


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished.work, tmp_path / "work")
    return tmp_path / "work"


def test_a_plan_computes_nothing(call, file, tmp_path):
    work = tmp_path / "none"
    code, lines, _ = call(file, "--plan", "--work", work)
    assert code == 0
    assert lines == [
        "row random seed to do",
        "tau = 0.1 0 index, localize, cam, evaluate",
        "tau = 0.2 0 -",
        f"8 of 8 to do in {work}",
    ]
    assert not work.exists()


def test_a_study_ends_with_the_path_of_its_table(call, file, copied, finished):
    code, lines, error = call(file, "--work", copied, "--workers", "1")
    assert code == 0
    assert "run 2 of 2: row 'tau = 0.2', random seed 0" in error
    (score,) = (
        score
        for score in finished.record["scores"]
        if score["subject"] == "a-0.1-1"
        and score["protocol"].get("threshold_chosen") == "oracle"
    )
    miou, taken = score["miou"], 100 - score["recall"]["background"]
    told = f"{miou:.2f} \N{EN DASH} {taken:.1f} 1"
    assert lines[:3] == [
        "row mIoU % sd background called object % random seeds quoted",
        f"tau = 0.1 {told}",
        f"tau = 0.2 {told} 12.5",
    ]
    assert lines[3].startswith("mIoU in %: random seed 0 alone")
    assert "USES GROUND TRUTH" in lines[4]
    assert lines[5] == "Quoted, not measured here: Somewhere, table 1."
    table = Path(lines[-1])
    assert table.parent.parent == copied / "studies"
    assert table.parent.name.startswith("temperatures-")
    assert "| tau = 0.2 |" in table.read_text()


def test_settings_of_the_command_line_are_told(call, file, copied):
    code, lines, _ = call(file, "--work", copied, "--set", "segment.batch=3")
    assert code == 0
    assert lines[-2].endswith("tiny.toml with `segment.batch=3`.")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nonsense"], ["there is no study nonsense", "ca-cl-losses"]),
        (["--set", "segment.stepz=1"], ["row 'tau = 0.1': ", "did you mean 'steps'?"]),
        (["--set", "random_seed=1"], ["a study has random seeds of its own, 0"]),
        (["--set", "data.root=nowhere"], ["row 'tau = 0.1': there is no image folder"]),
    ],
)
def test_mistakes_are_told(call, file, tmp_path, arguments, parts):
    study = [] if arguments == ["nonsense"] else [file]
    code, _, error = call(*study, *arguments, "--work", tmp_path / "work")
    assert code == 1
    for part in parts:
        assert part in error


def test_another_recipe_is_studied(call, file, recipe_file, tmp_path):
    file.write_text(STUDY.format(recipe="nonsense"))
    code, _, error = call(file, "--plan", "--work", tmp_path)
    assert code == 1
    assert "there is no recipe nonsense" in error
    code, lines, _ = call(file, "--plan", "--work", tmp_path, "--recipe", recipe_file)
    assert code == 0
    assert lines[-1].endswith(f"to do in {tmp_path}")
