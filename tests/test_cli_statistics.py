"""``tag2mask statistics``: tables of a run that need no training."""

import csv
import json
from functools import partial

import pytest

from tag2mask.pipeline.statistics import statistics_of


@pytest.fixture
def call(call_cli):
    return partial(call_cli, "statistics")


@pytest.fixture
def told(tmp_path):
    """A summary of two seeds and their vote, made up."""

    def score(stage, subject, *iou, right):
        classes = dict(zip(("background", "cat", "dog"), iou, strict=True))
        known = [each for each in iou if each is not None]
        return {"stage": stage, "subject": subject, "per_class": classes} | {
            "miou": sum(known) / len(known),
            "interval": [10.0, 90.0],
            "boundary_iou": 30.0,
            "pixel_accuracy": right,
        }

    record = {
        "scores": [
            score("cam", "x", 1.0, 1.0, 1.0, right=1.0),
            score("seed", "x", 80.0, 40.0, None, right=75.0),
            score("seed", "y", 70.0, 40.0, 10.0, right=62.5),
            score("refine", "y", 99.0, 40.0, 10.0, right=70.0),
            score("vote", "vote", 90.0, 50.0, 10.0, right=80.0),
            score("vote_refine", "vote", 90.0, 60.0, 10.0, right=80.0),
            score("predict", "plain", 1.0, 1.0, 1.0, right=1.0),
        ],
        "clean_pixels": {
            "by_min_support": [
                {"min_support": 1, "coverage": 90.0, "clean_right": 70.0}
                | {"noisy_right": 10.0, "noisy_wrong": 0.0, "clean_wrong": 20.0},
            ]
        },
    }
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(record))
    return path


def test_tables_by_hand(told):
    tables = {table.name: table for table in statistics_of(told)}
    after = ("y, refined", "vote", "vote, refined")
    assert list(tables["by-class"].headings) == ["class", "x", "y", *after, "best seed"]
    assert [list(row) for row in tables["by-class"].rows] == [
        ["background", 80.0, 70.0, 99.0, 90.0, 90.0, "x"],
        ["cat", 40.0, 40.0, 40.0, 50.0, 60.0, "-"],  # nobody alone
        ["dog", None, 10.0, 10.0, 10.0, 10.0, "y"],
        ["mean", 60.0, 40.0, pytest.approx(149 / 3), 50.0, pytest.approx(160 / 3), "x"],
    ]
    assert tables["quality"].rows[0] == ["x", 60.0, 10.0, 90.0, 30.0]
    assert tables["agreement"].rows == [
        ["x", 75.0, 25.0],
        ["y", 62.5, 37.5],
        ["y, refined", 70.0, 30.0],
        ["vote", 80.0, 20.0],
        ["vote, refined", 80.0, 20.0],
    ]
    assert tables["marks"].rows == [["1", 70.0, 10.0, 0.0, 20.0]]


def test_tables_of_a_run(call, finished, tmp_path):
    code, lines, _ = call(finished.summary, "--out", tmp_path / "out")
    assert code == 0
    assert lines[-1] == str(tmp_path / "out")
    shown = "\n".join(lines)
    for number in ("table 4", "table 5", "table 9", "tables 10 and 11"):
        assert number in shown
    with (tmp_path / "out" / "marks.csv").open() as stream:
        rows = [[float(each) for each in row] for row in list(csv.reader(stream))[1:]]
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert sum(row[1:]) == pytest.approx(100, abs=1e-3)
    (vote,) = (each for each in finished.record["scores"] if each["stage"] == "vote")
    # (a) and (b) together are what is right, whatever is called clean
    for row in rows:
        assert row[1] + row[2] == pytest.approx(vote["pixel_accuracy"], abs=1e-3)
    text = (tmp_path / "out" / "statistics.md").read_text()
    assert text.count("## ") == 4
    assert "| a-0.1-1.3 |" in text


def test_a_run_without_masks_is_told(call, told):
    record = json.loads(told.read_text()) | {"scores": [], "clean_pixels": None}
    told.write_text(json.dumps(record))
    code, _, error = call(told)
    assert code == 1
    assert "has no scores of seeds and vote; set data.masks" in error
    told.write_text("[]")
    code, _, error = call(told)
    assert code == 1
    assert "is no summary of a run" in error
