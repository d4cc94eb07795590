"""Killed or out of room anywhere and run again, a recipe ends with the same files."""

import json
import os
import re
import signal
import subprocess
import sys
from random import Random
from typing import NamedTuple

import pytest

from tag2mask.artifacts.files import file_digest
from tag2mask.artifacts.work import verify

DRIVER = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

import tag2mask.pipeline  # once for all: importing torch takes seconds
from tag2mask.cli import main

rename = Path.replace

def kill_at(stage, count, moment):
    left = count

    def replace(scratch, path):
        nonlocal left
        parts = Path(path).parts
        counts = stage in (parts[parts.index("work") + 1], "any")
        left -= counts
        is_last = counts and left <= 0  # now: another thread may be next
        if is_last and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(scratch, path)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.replace = replace

def kill_after(child, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

for fault, *values in json.loads(sys.argv.pop()):
    if fault == "disk":
        size, folder = values
        command = ["mount", "-o", f"remount,size={size}", folder]
        subprocess.run(command, check=True)
        continue
    begun = time.monotonic()
    child = os.fork()
    if not child:
        if fault == "files":
            kill_at(*values)
        main()
    status = kill_after(child, values[0] if fault == "seconds" else 1e9)
    seconds = time.monotonic() - begun
    print(json.dumps([os.waitstatus_to_exitcode(status), seconds]), flush=True)
"""
"""Runs the command line again and again, in a process of its own each time. It is
killed when so many files of a stage are written, or just before the last of them; or
after some seconds; or it is let alone, on a disk that was given some size."""
RESUMED = (
    "labels/**/*.png",
    "support/**/*.png",
    "edges/**/*.npz",
    "scores/**/*.npz",
    "weights.safetensors",
    "score.json",
)
ALONE = ("alone",)


def results(work):
    return {
        path.relative_to(work).as_posix(): file_digest(path)
        for pattern in RESUMED
        for path in work.glob(f"*/*/{pattern}")
    }


class Driven(NamedTuple):
    """What came of the runs: exit status and seconds of each, and all they said."""

    statuses: list[int]
    seconds: list[float]
    said: str


def run_with_faults(recipe_file, work, faults):
    command = [sys.executable, "-c", DRIVER, "run", recipe_file, "--work", work]
    knobs = ["--workers", "2", json.dumps(faults)]
    done = subprocess.run(
        [*map(str, command), *knobs],
        # one thread, as the unbroken run has
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,  # of a process that is left over and keeps the pipe open
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(x) for x in done.stdout.splitlines() if x.startswith("[")]
    assert "Traceback" not in done.stderr
    return Driven([row[0] for row in rows], [row[1] for row in rows], done.stderr)


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


def check_whole(work, expected):
    for left_over in (".scratch-*", "checkpoint.pt"):
        assert not list(work.rglob(left_over))
    assert results(work) == expected
    assert list(verify(work))[-1].endswith("artifacts are as they were written")


def check(recipe_file, work, kills, expected):
    driven = run_with_faults(recipe_file, work, [*kills, ALONE])
    assert driven.statuses == [-signal.SIGKILL] * len(kills) + [0]
    check_whole(work, expected)
    return driven


def test_killed_in_each_stage_and_run_again(finished, recipe_file, tmp_path):
    kills = [("files", *kill) for kill in KILLS]
    check(recipe_file, tmp_path / "work", kills, results(finished.work))


def random_kills(count, most, random_seed):
    """Kill after 1 to ``most`` files of any stage, before or after the last of them."""
    random = Random(random_seed)
    return [
        ("files", "any", random.randint(1, most), random.choice(["before", "after"]))
        for _ in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("random_seed", [1, 2])
def test_killed_at_twenty_random_files(finished, recipe_file, tmp_path, random_seed):
    kills = random_kills(20, most=16, random_seed=random_seed)
    check(recipe_file, tmp_path / "work", kills, results(finished.work))


@pytest.mark.slow
def test_killed_at_twenty_random_times(finished, recipe_file, tmp_path):
    (_, seconds) = run_with_faults(recipe_file, tmp_path / "x" / "work", [ALONE])[:2]
    random = Random(0)
    # the sum of 20 such times is twice an unbroken run, since each begins anew
    kills = [("seconds", random.uniform(0, seconds[0] / 5)) for _ in range(20)]
    work = tmp_path / "work"
    driven = run_with_faults(recipe_file, work, [*kills, ALONE])
    assert driven.statuses.count(-signal.SIGKILL) >= 15
    assert driven.statuses[-1] == 0
    check_whole(work, results(finished.work))


def check_full_disk(finished, recipe_file, disk, shares, kills=()):
    """Let the disk hold some shares of a whole run, one after the other."""
    sizes = [path.stat().st_size for path in finished.work.rglob("*")]
    whole = sum(-(-size // 4096) * 4096 for size in sizes)
    faults = []
    for share in shares:
        faults += [("disk", int(share * whole), str(disk)), ALONE]
    faults += [("disk", 3 * whole, str(disk)), *kills, ALONE]
    driven = run_with_faults(recipe_file, disk / "work", faults)
    killed = [-signal.SIGKILL] * len(kills)
    assert driven.statuses == [1] * len(shares) + killed + [0], driven.said
    told = r"cannot write .*No space left on device.*; make room or"
    assert len(re.findall(told, driven.said)) == len(shares), driven.said
    check_whole(disk / "work", results(finished.work))


def test_full_disk_and_random_kills(finished, recipe_file, disk):
    kills = random_kills(2, most=20, random_seed=0)
    check_full_disk(finished, recipe_file, disk, [0.3], kills)


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(0.02, 0.2, 0.4, 0.6, 0.8), (0.3, 0.55, 0.7, 0.9)])
def test_disk_full_at_many_points(finished, recipe_file, disk, shares):
    check_full_disk(finished, recipe_file, disk, shares)


TWO = """
import os, sys

import tag2mask.pipeline
from tag2mask.cli import main

arguments = sys.argv
children = []
for name in ("one", "two"):
    children.append(os.fork())
    if not children[-1]:
        log = os.open(f"{arguments[-1]}-{name}.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 2)
        sys.argv = arguments[:-1]
        main()
print([os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in children])
"""
"""Runs the command line in two processes at once."""


def test_two_runs_at_once_share_the_work(finished, recipe_file, tmp_path):
    command = [sys.executable, "-c", TWO, "run", recipe_file]
    knobs = ["--work", tmp_path / "work", "--workers", "1", tmp_path / "said"]
    done = subprocess.run(
        list(map(str, [*command, *knobs])),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,  # of a process that is left over and keeps the pipe open
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "[0, 0]", done.stderr
    check_whole(tmp_path / "work", results(finished.work))
    said = [(tmp_path / f"said-{name}.txt").read_text() for name in ("one", "two")]
    assert sum(text.count("train: done in") for text in said) == 3
    waits = re.findall(r"is being made by process (\d+) on .*: waiting", "".join(said))
    assert waits


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
    kills = [("files", stage, count, moment) for count in (1, 2, 3, 4)]
    check(recipe_file, tmp_path / "work", kills, results(finished.work))
