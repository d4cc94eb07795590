"""Stages hold a few images at a time, however many there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_grows_by_names_only():
    done = subprocess.run(
        [sys.executable, str(BENCHMARK)],
        cwd=BENCHMARK.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    growth = json.loads(done.stdout)["growth_kilobytes_per_image"]
    assert set(growth) == {"index", "seed", "vote", "evaluate"}
    # a label map of this size is 16 kB, a confusion matrix 3.7 kB, a record some 0.6 kB
    assert max(growth.values()) < 2.5
