"""Killed in any stage and run again, a recipe ends with the same files."""

import os
import signal
import subprocess
import sys

import pytest

from tag2mask.artifacts.files import file_digest

KILLER = """
import os, signal, sys
from pathlib import Path

rename, left = Path.replace, int(sys.argv.pop(1))
stage, moment = sys.argv.pop(1), sys.argv.pop(1)

def replace(scratch, path):
    global left
    counts = Path(path).parts[Path(path).parts.index("work") + 1] == stage
    left -= counts
    if counts and not left and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(scratch, path)
    if counts and not left:
        os.kill(os.getpid(), signal.SIGKILL)

Path.replace = replace
from tag2mask.cli import main
main()
"""
"""Kills itself when so many files of a stage are written, or one before."""
RESUMED = ("labels/**/*.png", "support/**/*.png", "weights.safetensors", "score.json")


def results(work):
    return {
        path.relative_to(work).as_posix(): file_digest(path)
        for pattern in RESUMED
        for path in work.glob(f"*/*/{pattern}")
    }


def run_cli(recipe_file, work, *before):
    command = [sys.executable, *before, "run", recipe_file, "--work", work]
    return subprocess.run(
        [*map(str, command), "--workers", "2"],
        # one thread, as the unbroken run has
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def kill(recipe_file, work, stage, count, moment):
    """Run until so many files of a stage are about to be, or just are, in place."""
    done = run_cli(recipe_file, work, "-c", KILLER, str(count), stage, moment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not any(work.glob("runs/*/summary.json"))


def finish(recipe_file, work):
    done = run_cli(recipe_file, work, "-m", "tag2mask.cli")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("summary.json")
    assert not list(work.rglob(".scratch-*"))
    assert not list(work.rglob("checkpoint.pt"))
    return results(work)


# a training writes a log and a checkpoint in each step
KILLS = (
    ("localize", 4, "before"),  # the second checkpoint
    ("cam", 3, "after"),  # three of eight maps, in the middle of a batch
    ("vote", 4, "after"),  # two of eight images
    ("segment", 5, "after"),  # after the card, the second checkpoint
    ("predict", 2, "before"),
)


def test_killed_in_five_stages_one_after_the_other(finished, recipe_file, tmp_path):
    work = tmp_path / "work"
    for stage, count, moment in KILLS:
        kill(recipe_file, work, stage, count, moment)
        last = max(work.glob(f"{stage}/*"), key=lambda path: path.stat().st_mtime)
        assert not (last / "manifest.json").exists()
    assert finish(recipe_file, work) == results(finished.work)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize(
    "stage",
    ["index", "localize", "cam", "seed", "vote", "segment", "predict", "evaluate",
     "proxies", "report"],
)  # fmt: skip
def test_killed_at_any_file_of_any_stage(
    finished, recipe_file, tmp_path, stage, count, moment
):
    kill(recipe_file, tmp_path / "work", stage, count, moment)
    assert finish(recipe_file, tmp_path / "work") == results(finished.work)
