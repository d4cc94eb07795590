"""Settings of every test, and a tiny toy world that has been through the pipeline.

The package is imported inside the fixtures: the hook that checks shapes is installed
after this file was read.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

torch.set_num_threads(1)
REAL_DATA = "../shared/data"
TINY = """
[data]
root = "{root}"
masks = "masks"
classes = "classes.txt"
[voters.a]
backbone = "test_resnet"
weights = "none"
output_stride = 8
dropout = [0.1, 0.3]
scales = [1.0, 1.3]
steps = 6
batch = 4
crop = 48
optimizer = "adamw"
learning_rate = 1e-2
freeze_batch_norm = false
cam = {{ scales = [1.0], flip = false }}
seed = {{ alpha = 4.0 }}
[segment]
backbone = "test_resnet"
weights = "none"
output_stride = 8
rates = [1, 2]
min_support = 3
steps = 4
batch = 4
crop = 48
optimizer = "adamw"
learning_rate = 1e-4
head_factor = 1.0
loss_stride = 2
[predict]
flip = true
[evaluate]
bootstrap = 20
[report]
panels = 1
"""
"""Four voters; a segmenter that hardly learns, so that it predicts many classes."""


@pytest.fixture(autouse=True)
def _same_chance_for_every_test():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with 8 train and 4 val scenes of 48 px; not to be written to."""
    from tag2mask import write_toy_world

    root = tmp_path_factory.mktemp("tiny") / "world"
    write_toy_world(root, num_train=8, num_val=4, random_seed=0, size=48)
    return root


@pytest.fixture(scope="session")
def recipe_file(world):
    """A recipe of the world that runs in seconds."""
    path = world.parent / "tiny.toml"
    path.write_text(TINY.format(root=world))
    return path


@pytest.fixture(scope="session")
def load(recipe_file):
    """Load the tiny recipe with overrides."""
    from tag2mask import load_recipe

    return lambda *overrides: load_recipe(recipe_file, overrides)


class Finished(NamedTuple):
    """A finished run of the tiny recipe."""

    work: Path
    summary: Path
    record: dict

    def folder(self, *path):
        """Return the folder of an artifact, by its path in the summary."""
        found = self.record["artifacts"]
        for part in path:
            found = found[part]
        return (self.summary.parent / found).resolve()


@pytest.fixture(scope="session")
def finished(load, world):
    """The tiny recipe, run once for all tests; they leave the work folder alone."""
    from tag2mask import Runtime, run

    torch.manual_seed(0)
    work = world.parent / "work"
    summary = run(load(), work, runtime=Runtime(workers=1), name="tiny")
    return Finished(work, summary, json.loads(summary.read_text()))


@pytest.fixture
def call_cli(monkeypatch, capsys):
    """Run a command as a user does; return exit code, lines and errors."""
    from tag2mask import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tag2mask", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        lines = [re.sub(" +", " ", line).rstrip() for line in captured.out.splitlines()]
        return caught.value.code or 0, lines, captured.err

    return run


@pytest.fixture
def disk(tmp_path):
    """A disk of its own in memory, that can be made larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
