"""Benchmarks that call stages keep up with them."""

import runpy
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_memory_runs_every_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    memory = runpy.run_path(str(BENCHMARKS / "memory.py"))
    memory["make_world"](tmp_path, 10)
    for stage in memory["STAGES"]:
        memory["run_stage"](stage, tmp_path)
    for stage in ("seed", "vote"):
        assert len(list((tmp_path / stage / "labels").glob("*.png"))) == 10
