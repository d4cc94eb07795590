"""Killed in any stage and run again, a recipe ends with the same files."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tag2mask.artifacts.files import file_digest

DRIVER = """
import json, os, signal, sys
from pathlib import Path

import tag2mask.pipeline  # once for all: importing torch takes seconds
from tag2mask.cli import main

rename = Path.replace

def kill_at(stage, count, moment):
    left = count

    def replace(scratch, path):
        nonlocal left
        counts = Path(path).parts[Path(path).parts.index("work") + 1] == stage
        left -= counts
        if counts and not left and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(scratch, path)
        if counts and not left:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.replace = replace

for kill in json.loads(sys.argv.pop()):
    child = os.fork()
    if not child:
        if kill:
            kill_at(*kill)
        main()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status]), flush=True)
"""
"""Runs the command line again and again, in a process of its own each time, which kills
itself when so many files of a stage are written, or just before the last of them."""
RESUMED = ("labels/**/*.png", "support/**/*.png", "weights.safetensors", "score.json")


def results(work):
    return {
        path.relative_to(work).as_posix(): file_digest(path)
        for pattern in RESUMED
        for path in work.glob(f"*/*/{pattern}")
    }


def run_with_kills(recipe_file, work, kills):
    """Return the exit status of each run that is killed, and of the last one."""
    command = [sys.executable, "-c", DRIVER, "run", recipe_file, "--work", work]
    knobs = ["--workers", "2", json.dumps([*kills, None])]
    done = subprocess.run(
        [*map(str, command), *knobs],
        # one thread, as the unbroken run has
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return [json.loads(row)[0] for row in rows]


# a training writes a log and a checkpoint in each step
KILLS = (
    ("index", 2, "before"),  # the class names
    ("localize", 4, "before"),  # the second checkpoint
    ("localize", 11, "after"),  # the weights, while the checkpoint is still there
    ("cam", 3, "after"),  # three of eight maps, in the middle of a batch
    ("seed", 5, "before"),
    ("vote", 4, "after"),  # two of eight images
    ("segment", 5, "after"),  # after the card, the second checkpoint
    ("predict", 2, "before"),
    ("evaluate", 1, "before"),
)


def check(recipe_file, work, kills, expected):
    statuses = run_with_kills(recipe_file, work, kills)
    assert statuses == [-signal.SIGKILL] * len(kills) + [0]
    assert not list(work.rglob(".scratch-*"))
    assert not list(work.rglob("checkpoint.pt"))
    assert results(work) == expected


def test_killed_in_each_stage_and_run_again(finished, recipe_file, tmp_path):
    check(recipe_file, tmp_path / "work", KILLS, results(finished.work))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "stage",
    ["index", "localize", "cam", "seed", "vote", "segment", "predict", "evaluate",
     "proxies", "report"],
)  # fmt: skip
def test_killed_at_the_first_files_of_a_stage(
    finished, recipe_file, tmp_path, stage, moment
):
    kills = [(stage, count, moment) for count in (1, 2, 3, 4)]
    check(recipe_file, tmp_path / "work", kills, results(finished.work))
