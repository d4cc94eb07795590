"""A damaged file is told or mended; after what the message advises all is as before."""

import re
import shutil
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tag2mask import Runtime, predict_files, run
from tag2mask.artifacts.files import file_digest
from tag2mask.artifacts.work import verify
from tag2mask.engine.progress import Progress
from tag2mask.errors import DatasetError, ModelError, Tag2MaskError

COMPARED = ("labels/**/*.png", "support/**/*.png", "weights.safetensors", "score.json")


def results(work):
    return {
        path.relative_to(work).as_posix(): file_digest(path)
        for pattern in COMPARED
        for path in work.glob(f"*/*/{pattern}")
    }


class Broken:
    """A copy of the finished work folder, of which some stages are yet to be made."""

    def __init__(self, work, recipe):
        self.work, self.recipe = work, recipe
        self.told = StringIO()

    def forget(self, *stages):
        for stage in stages:
            for folder in (self.work / stage).iterdir():
                shutil.rmtree(folder)

    def interrupt(self, folder):
        """Make a finished artifact one that is begun."""
        (folder / "manifest.json").unlink()
        (folder / "files.sha256").unlink()

    def file(self, pattern):
        return min(self.work.glob(pattern))

    def run(self):
        progress = Progress(Console(file=self.told, width=1000))
        torch.manual_seed(0)
        runtime = Runtime(workers=1, progress=progress)
        return run(self.recipe, self.work, runtime=runtime, name="tiny")

    def complaint(self):
        """Run, and return why that failed, empty if it did not."""
        try:
            self.run()
        except Tag2MaskError as error:
            return str(error)
        return ""

    def follow(self, message):
        """Do what a message advises."""
        folders = re.findall(r"delete (/\S+) (?:and run|to have)", message)
        commands = re.findall(r"`tag2mask verify (/\S+) --repair`", message)
        assert folders or commands, message
        for folder in folders:
            shutil.rmtree(folder)
        for work in commands:
            list(verify(Path(work), repair=True))


@pytest.fixture
def broken(finished, load, tmp_path):
    shutil.copytree(finished.work, tmp_path / "work")
    return Broken(tmp_path / "work", load())


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def altered(path):
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def deleted(path):
    path.unlink()


SCORES = ("evaluate", "proxies", "report")
PREDICT = ("predict", *SCORES)
SEGMENT = ("segment", *PREDICT)
VOTE = ("vote", *SEGMENT)
SEED = ("seed", *VOTE)
CAM = ("cam", *SEED)


def cases(*quick, slow):
    """Each is a file, what is done to it, and what is yet to be made from it."""
    marked = [pytest.param(*case, marks=pytest.mark.slow) for case in slow]
    return pytest.mark.parametrize(
        ("pattern", "damage", "forgotten"), [*quick, *marked]
    )


@cases(
    ("vote/*/support/train_00003.png", zeroed, SEGMENT),
    ("evaluate/*/score.json", cut, ["report"]),
    slow=[
        ("index/*/images.jsonl", cut, VOTE),
        ("index/*/images.jsonl", altered, PREDICT),
        ("index/*/classes.json", deleted, PREDICT),
        ("localize/*/weights.safetensors", altered, CAM),
        ("cam/*/cams/train_00001.npz", cut, SEED),
        ("cam/*/cams/train_00001.npz", deleted, SEED),
        ("seed/*/labels/train_00002.png", cut, VOTE),
        ("seed/*/labels/train_00002.png", deleted, VOTE),
        ("vote/*/labels/train_00003.png", altered, SEGMENT),
        ("vote/*/files.sha256", zeroed, SEGMENT),
        ("vote/*/manifest.json", zeroed, SEGMENT),
        ("segment/*/weights.safetensors", cut, PREDICT),
        ("segment/*/weights.safetensors", altered, PREDICT),
        ("segment/*/model.json", zeroed, PREDICT),
        ("predict/*/labels/val_00001.png", cut, SCORES),
        ("predict/*/manifest.json", cut, SCORES),
        ("proxies/*/proxies.json", zeroed, ["report"]),
    ],
)
def test_damaged_input_is_told_before_it_is_read(
    finished, broken, pattern, damage, forgotten
):
    broken.forget(*forgotten)
    path = broken.file(pattern)
    damage(path)
    with pytest.raises(Tag2MaskError) as caught:
        broken.run()
    assert str(path) in str(caught.value)
    broken.follow(str(caught.value))
    broken.run()
    assert results(broken.work) == results(finished.work)
    assert "are as they were written" in list(verify(broken.work))[-1]


@cases(
    ("seed/*/labels/train_00002.png", cut, VOTE),
    slow=[
        ("index/*/images.jsonl", cut, PREDICT),
        ("localize/*/weights.safetensors", cut, CAM),
        ("cam/*/cams/train_00002.npz", zeroed, SEED),
        ("vote/*/support/train_00002.png", cut, SEGMENT),
        ("vote/*/support/train_00002.png", deleted, SEGMENT),
        ("segment/*/weights.safetensors", cut, PREDICT),
        ("segment/*/model.json", cut, PREDICT),
        ("predict/*/labels/val_00001.png", zeroed, SCORES),
        ("evaluate/*/score.json", cut, ["report"]),
    ],
)
def test_damage_in_what_was_interrupted_is_told_or_mended(
    finished, broken, pattern, damage, forgotten
):
    broken.forget(*forgotten)
    path = broken.file(pattern)
    broken.interrupt(broken.work / Path(*path.relative_to(broken.work).parts[:2]))
    damage(path)
    if complaint := broken.complaint():
        assert str(path) in complaint
        broken.follow(complaint)
        broken.run()
    assert results(broken.work) == results(finished.work)


def test_run_finds_nothing_wrong_where_it_reads_nothing_and_verify_does(
    finished, broken
):
    altered(broken.file("predict/*/labels/val_00001.png"))
    broken.run()
    with pytest.raises(Tag2MaskError) as caught:
        list(verify(broken.work))
    broken.follow(str(caught.value))
    broken.run()
    assert results(broken.work) == results(finished.work)


def test_damaged_segmenter_predicts_nothing(broken, world, tmp_path):
    path = broken.file("segment/*/weights.safetensors")
    altered(path)
    for model in (path.parent, broken.work):
        with pytest.raises(Tag2MaskError, match=f"{path} is not the file that its st"):
            predict_files(model, [world / "images"], tmp_path / "out")
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("model.json", "weights.safetensors"):
        shutil.copy(path.with_name(name), copy)
    cut(copy / "weights.safetensors")
    with pytest.raises(ModelError, match=r"weights\.safetensors cannot be read as we"):
        predict_files(copy, [world / "images"], tmp_path / "out")


@pytest.fixture
def own_world(world, tmp_path):
    shutil.copytree(world, tmp_path / "world")
    return tmp_path / "world"


def test_masks_that_go_while_a_run_lasts_are_missed(
    finished, load, own_world, tmp_path, monkeypatch
):
    """A score that is named by its masks is never of other masks."""
    from tag2mask.stages import evaluate

    shutil.copytree(finished.work, tmp_path / "work")
    shutil.rmtree(tmp_path / "work" / "evaluate")
    score = evaluate.score_labels

    def score_late(*arguments, **knobs):
        shutil.rmtree(own_world / "masks", ignore_errors=True)
        return score(*arguments, **knobs)

    monkeypatch.setattr(evaluate, "score_labels", score_late)
    recipe = load(f"data.root={own_world}")
    with pytest.raises(DatasetError, match=r"masks/train_.*: there is no such mask"):
        run(recipe, tmp_path / "work", runtime=Runtime(workers=1))
    with pytest.raises(DatasetError, match=r"there is no mask folder .*; check"):
        run(recipe, tmp_path / "work", runtime=Runtime(workers=1))


@pytest.mark.parametrize(
    "change", ["resized", pytest.param("deleted", marks=pytest.mark.slow)]
)
def test_image_that_changes_while_a_run_lasts_is_named(
    load, own_world, tmp_path, monkeypatch, change
):
    from PIL import Image

    from tag2mask.stages import index

    path = own_world / "images" / "train_00003.png"
    kept = path.read_bytes()
    make = index.run

    def run_and_change(*arguments, **knobs):
        make(*arguments, **knobs)
        path.unlink()
        if change == "resized":
            Image.new("RGB", (30, 40)).save(path)

    monkeypatch.setattr(index, "run", run_and_change)
    recipe = load(f"data.root={own_world}")
    with pytest.raises(DatasetError) as caught:
        run(recipe, tmp_path / "work", runtime=Runtime(workers=1))
    assert str(path) in str(caught.value)
    assert "put the old file back, or run the recipe again" in str(caught.value)
    monkeypatch.undo()
    path.write_bytes(kept)
    run(recipe, tmp_path / "work", runtime=Runtime(workers=1), until="localize")


def test_labels_folder_that_cannot_be_written_is_told(broken, monkeypatch):
    """As root no folder is read-only, so the system's answer is put in its place."""
    broken.forget(*VOTE)
    rename = Path.replace

    def refuse(scratch, path):
        if Path(path).parent.name == "labels":
            raise PermissionError(13, "Permission denied")
        return rename(scratch, path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(Tag2MaskError, match=r"stage vote: cannot write .*labels"):
            broken.run()
