"""Faults anywhere in a pipeline of every kind of stage: it ends as an unbroken run."""

import shutil
import signal
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import torch

from tag2mask import Recipe, Runtime, load_recipe, run
from tag2mask.artifacts.work import verify
from tag2mask.pipeline import STAGES
from test_damage import Broken, altered, cut, deleted, zeroed
from test_refining import IRNET
from test_resume import (
    ALONE,
    check_full_disk,
    check_whole,
    random_kills,
    results,
    run_with_faults,
)
from test_text_voters import VOTERS
from test_union import TEXT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


MADE = [stage for stage in STAGES if stage != "truth"]  # which is the oracle's alone
DAMAGES = (cut, altered, zeroed, deleted)


class Whole(NamedTuple):
    """A finished run; what `finished` is to the tiny recipe."""

    recipe_file: Path
    recipe: Recipe
    work: Path
    summary: Path


@pytest.fixture(scope="module")
def whole(recipe_file, tmp_path_factory):
    """Voters of all methods, IRNet before the vote and after it, run once."""
    # which `agreement` may keep one of
    text = recipe_file.read_text().replace("min_support = 3", "min_support = 1")
    text += VOTERS + TEXT.replace("voters.t", "voters.x")
    text += "[vote]\nselect = 'agreement'\n"
    text += IRNET.format(table="voters.a.refine")
    text += IRNET.format(table="vote.refine") + "min_support = 1\n"
    text += "[segment.second_round]\n"
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "whole.toml"
    path.write_text(text)
    recipe = load_recipe(path)
    torch.manual_seed(0)
    work = folder / "work"
    summary = run(recipe, work, runtime=Runtime(workers=1), name="whole")
    made = {each.name for each in work.iterdir()}
    assert made >= set(MADE)
    return Whole(path, recipe, work, summary)


def test_killed_at_thirty_random_moments(whole, tmp_path):
    num_files = sum(path.is_file() for path in whole.work.rglob("*"))
    kills = random_kills(15, most=num_files // 25, random_seed=3)
    alone = run_with_faults(whole.recipe_file, tmp_path / "x" / "work", [ALONE])
    random = Random(3)
    # as many by the clock; both together reach most of an unbroken run, on the average
    longest = alone.seconds[0] / 15
    kills += [("seconds", random.uniform(0, longest)) for _ in range(15)]
    random.shuffle(kills)
    work = tmp_path / "work"
    driven = run_with_faults(whole.recipe_file, work, [*kills, ALONE])
    assert driven.statuses.count(-signal.SIGKILL) >= 25
    assert driven.statuses[-1] == 0
    check_whole(work, results(whole.work))


def test_disk_full_at_five_points(whole, disk):
    check_full_disk(whole, whole.recipe_file, disk, (0.1, 0.3, 0.5, 0.7, 0.9))


@pytest.mark.parametrize("random_seed", range(10))
def test_any_damaged_file_is_told_or_mended(whole, tmp_path, random_seed):
    """All that comes after the file's stage is yet to be made."""
    shutil.copytree(whole.work, tmp_path / "work")
    broken = Broken(tmp_path / "work", whole.recipe)
    random = Random(random_seed)
    stage = random.choice(MADE[:-1])
    files = sorted(p for p in (broken.work / stage).rglob("*") if p.is_file())
    path = random.choice(files)
    broken.forget(*MADE[MADE.index(stage) + 1 :])
    random.choice(DAMAGES)(path)
    if complaint := broken.complaint():
        assert str(path) in complaint
        broken.follow(complaint)
        broken.run()
    else:  # nothing that was to be made reads it
        list(verify(broken.work, repair=True))
        broken.run()
    assert results(broken.work) == results(whole.work)
