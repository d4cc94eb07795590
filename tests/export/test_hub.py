"""Segmenters to the hub and back, against a local folder and a fake endpoint."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub.errors import HfHubHTTPError

from tag2mask import load_segmenter, predict_files, segment_image
from tag2mask.artifacts.labels import read_index_png
from tag2mask.errors import DatasetError, ModelError
from tag2mask.export.hub import push_to_hub, write_hub_folder
from tag2mask.models import hub
from tag2mask.models.hub import fetch_model, hub_name
from tag2mask.models.locate import locate_segmenter

FILES = {"README.md", "model.json", "weights.safetensors"}


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    """A hub in a folder: what is pushed can be fetched."""
    calls = []

    class Api:
        def create_repo(self, name, *, private, exist_ok):
            calls.append((name, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, **_):
            assert set(allow_patterns) == FILES
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
            return SimpleNamespace(repo_url=f"https://hub/{repo_id}")

    def download(name, *, allow_patterns):
        if not (tmp_path / "hub" / name).exists():
            raise OSError(f"404: {name}\nmore")
        assert allow_patterns == ["model.json", "weights.safetensors"]
        return str(tmp_path / "hub" / name)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", download)
    return calls


def test_pushed_model_predicts_by_its_name(fake_hub, finished, world, tmp_path):
    page = push_to_hub(finished.summary, "me/small.model", private=True)
    assert page == "https://hub/me/small.model"
    assert fake_hub == [("me/small.model", True, True)]
    images = [world / "images" / "val_00000.png"]
    same = {"scales": [1.0], "flip": False, "crf": "none"}
    predict_files(finished.folder("segment"), images, tmp_path / "a", same)
    predict_files("hub:me/small.model", images, tmp_path / "b")
    predict_files("me/small.model", images, tmp_path / "c")
    maps = [read_index_png(tmp_path / each / "val_00000.png") for each in "abc"]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
    found = segment_image(load_segmenter("hub:me/small.model"), images[0])
    assert np.array_equal(found.labels, maps[0])


def test_folder_is_a_model_and_its_card_says_how_it_scored(finished, tmp_path):
    out = write_hub_folder(finished.summary, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == FILES
    assert locate_segmenter(out).folder == out
    text = (out / "README.md").read_text()
    scores = [s for s in finished.record["scores"] if s["stage"] == "predict"]
    assert scores
    for score in scores:
        row = f"| {score['subject']} | {score['miou']:.1f} | "
        (line,) = [each for each in text.splitlines() if each.startswith(row)]
        assert "| val | scales " in line
        assert "random seed 0 |" in line
    assert text.startswith("---\nlibrary_name: tag2mask\n")
    assert "trained by tag2mask from image-level tags" in text
    for name in finished.record["scores"][0]["per_class"]:
        assert name.replace("_", r"\_") in text
    with pytest.raises(DatasetError, match="is not empty; choose another folder"):
        write_hub_folder(finished.summary, out)


def test_card_predicts_as_the_plain_score_did(finished, tmp_path):
    record = json.loads(finished.summary.read_text())
    record["recipe"]["predict"]["presence"] = 2.0
    record["artifacts"]["segment"] = str(finished.folder("segment"))
    place = tmp_path / "runs" / "x"
    place.mkdir(parents=True)
    (place / "summary.json").write_text(json.dumps(record))
    write_hub_folder(place / "summary.json", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "predict hub:OWNER/NAME images/ --out masks --presence 2\n" in text


def test_card_of_a_model_without_a_run_says_so(finished, tmp_path):
    write_hub_folder(finished.folder("segment"), tmp_path / "out")
    assert "None are known" in (tmp_path / "out" / "README.md").read_text()


def test_names_are_shown_as_text(finished, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(finished.folder("segment"), folder)
    (folder / "manifest.json").unlink()
    card = json.loads((folder / "model.json").read_text())
    card["class_names"][1] = "<img src=x>|`a`\n# b"
    (folder / "model.json").write_text(json.dumps(card))
    write_hub_folder(folder, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert r"\<img src=x\>\|\`a\` \# b" in text


def test_card_owns_to_ground_truth(finished, tmp_path):
    record = json.loads(finished.summary.read_text())
    for score in record["scores"]:
        score["protocol"]["uses_truth"] = True
    place = tmp_path / "runs" / "x"
    place.mkdir(parents=True)
    record["artifacts"]["segment"] = str(finished.folder("segment"))
    (place / "summary.json").write_text(json.dumps(record))
    write_hub_folder(place / "summary.json", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "Ground-truth masks took part in training it" in text
    assert "USES GROUND TRUTH" in text


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("hub:me/model", "me/model"),
        ("me/model", "me/model"),
        ("./me/model", None),
        ("model", None),
        ("a/b/c", None),
        ("../model", None),
        ("/model", None),
    ],
)
def test_what_is_a_name_on_the_hub(model, name):
    assert hub_name(model) == name


def test_path_that_exists_is_no_name(tmp_path, monkeypatch):
    (tmp_path / "me" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_name("me/model") is None
    assert hub_name("hub:me/model") == "me/model"


@pytest.mark.parametrize("name", ["", "a", "../a", "a/b/c", "a b/c", "/a/b"])
def test_wrong_names_are_told(name, finished):
    with pytest.raises(ModelError, match="is no name on the hub: expected OWNER/NAME"):
        hub_name(f"hub:{name}")
    with pytest.raises(ModelError, match="is no name on the hub"):
        push_to_hub(finished.summary, name)


@pytest.mark.usefixtures("fake_hub")
def test_refusals_of_the_hub_are_told(finished, tmp_path, monkeypatch):
    with pytest.raises(ModelError) as caught:
        fetch_model("me/none")
    assert str(caught.value) == (
        "me/none is no path here, and cannot be had from the hub as a model of "
        "tag2mask (404: me/none); check the name, the connection and `hf auth login`"
    )
    (tmp_path / "hub" / "me" / "else").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"me/else on the hub is no model .*\.json"):
        fetch_model("me/else")

    def refuse(*_, **__):
        raise HfHubHTTPError(
            "403 Forbidden",
            response=SimpleNamespace(headers={}, request=None, status_code=403),
        )

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with pytest.raises(ModelError, match=r"me/x cannot be written on the hub .*403 F"):
        push_to_hub(finished.summary, "me/x")


@pytest.mark.usefixtures("fake_hub")
def test_command_writes_or_pushes(call_cli, finished, tmp_path):
    code, lines, _ = call_cli("export", "hub", finished.work, "--out", tmp_path / "m")
    assert (code, lines) == (0, [str(tmp_path / "m")])
    code, lines, _ = call_cli("export", "hub", tmp_path / "m", "--repo", "me/model")
    assert (code, lines) == (0, ["https://hub/me/model"])
    for options in ([], ["--repo", "me/x", "--out", tmp_path / "x"]):
        code, _, error = call_cli("export", "hub", tmp_path / "m", *options)
        assert (code, "give either --repo" in error) == (1, True)
