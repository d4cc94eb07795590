import json

import pytest
import torch

from tag2mask.artifacts.cams import Cams, write_cams
from tag2mask.artifacts.labels import write_labels


@pytest.fixture
def folders(tmp_path):
    """One image of a row of four pixels, each of which is its own cell."""
    maps = torch.tensor([[[0.0, 0.3, 0.75, 0.1]], [[0.1, 0.0, 0.5, 0.8]]])
    write_cams(tmp_path / "scores", "a", Cams(maps, (1, 2)))
    truth = torch.tensor([[0, 0, 1, 2]], dtype=torch.uint8)
    write_labels(tmp_path / "masks", "a", truth)
    return tmp_path


def test_sweep_prints_thresholds_and_the_best(folders, call_cli):
    out = folders / "sweep.json"
    code, lines, _ = call_cli(
        "sweep", folders / "scores", folders / "masks", "--out", out, "--workers", 1
    )
    assert code == 0
    # labels 0 1 1 2 at 0.2: background 1/2, cat 1/2, dog 1
    assert "0.2 66.67" in lines
    # 0.3 is stored as the float16 just above it
    assert "0.305 100.00 oracle: USES GROUND TRUTH" in lines
    assert "0.5 100.00" in lines
    # nothing but background: 1/2, 0, 0
    assert lines[-2] == "1 16.67"
    assert lines[-1] == (
        "best threshold 0.305: mIoU 100.00 % over 1 images, tags known, no CRF; chosen "
        "with the ground truth"
    )
    record = json.loads(out.read_text())
    assert record["protocol"]["uses_truth"] is True
    assert len(record["thresholds"]) == len(record["miou"]) == 201
    assert record["thresholds"][30] == 0.15
    assert record["miou"][40] == 66.6667
    assert record["oracle"]["per_class"] == {"0": 100.0, "1": 100.0, "2": 100.0}


def test_sweep_of_listed_images_with_class_names(folders, call_cli):
    write_cams(folders / "scores", "b", Cams(torch.ones(1, 1, 1), (2,)))
    (folders / "names.txt").write_text("a\n")
    (folders / "scores" / "classes.json").write_text('["background", "cat", "dog"]')
    out = folders / "sweep.json"
    arguments = "sweep", folders / "scores", folders / "masks", "--workers", 1
    code, _, error = call_cli(*arguments)
    assert code == 1
    assert "1 files are missing" in error
    assert "masks/b.png" in error
    code, lines, _ = call_cli(
        *arguments, "--names", folders / "names.txt", "--out", out
    )
    assert code == 0
    assert "over 1 images" in lines[-1]
    assert "dog" in json.loads(out.read_text())["oracle"]["per_class"]


def test_sweep_of_nothing(folders, call_cli):
    code, _, error = call_cli("sweep", folders / "masks", folders / "masks")
    assert code == 1
    assert "there is nothing to score: no score map (.npz) in" in error


def test_sweep_equals_the_score_of_a_run(finished, world, call_cli, tmp_path):
    name, score = next(
        (each["subject"], each)
        for each in finished.record["scores"]
        if each["stage"] == "cam" and each["protocol"]["threshold_chosen"] == "oracle"
    )
    scores = finished.folder("voters", name, "cam") / "cams"
    out = tmp_path / "sweep.json"
    code, _, _ = call_cli("sweep", scores, world / "masks", "--out", out)
    assert code == 0
    record = json.loads(out.read_text())
    assert record["miou"] == score["miou_by_threshold"]
    assert record["oracle"]["threshold"] == score["protocol"]["threshold"]
