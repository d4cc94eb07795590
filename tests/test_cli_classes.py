"""``tag2mask classes``: what an image-text model is told."""

import re
from functools import partial

import pytest

from tag2mask.stages import prompts


@pytest.fixture
def call(call_cli):
    """Run ``tag2mask classes``."""
    return partial(call_cli, "classes")


@pytest.fixture
def taught(recipe_file, tmp_path):
    """The tiny recipe with a voter that reads texts."""
    path = tmp_path / "taught.toml"
    voter = '[voters.t]\nmethod = "ca_cl"\nimage_text = { adapter = "tiny" }\n'
    path.write_text(recipe_file.read_text() + voter)
    return path


def test_show_prints_what_is_used(call, taught):
    code, lines, _ = call("show", taught, "--set", "voters.t.prompts.words=2")
    assert code == 0
    boat = next(line for line in lines if line.startswith("boat"))
    assert re.fullmatch(r"boat boat water, \w+", boat)
    assert "context: a photo of {}." in lines


def test_a_recipe_without_texts_is_told(call, recipe_file):
    code, _, error = call("show", recipe_file)
    assert code == 1
    assert "the recipe has no voter that reads texts: method 'ca_cl'" in error


def test_unknown_voter_names_those_there_are(call, taught):
    code, _, error = call("show", taught, "--voter", "a")
    assert code == 1
    assert "no voter a that reads texts" in error
    assert "there are t" in error


def test_suggest_writes_a_file_that_the_recipe_reads(
    call, taught, tmp_path, monkeypatch
):
    out = tmp_path / "classes.toml"
    asked = []
    monkeypatch.setattr(
        "tag2mask.stages.suggest.propose_from_images",
        lambda *_, **knobs: asked.append(knobs["num_words"]) or (("moor",),) * 6,
    )
    monkeypatch.setattr(prompts, "open_image_text", lambda *_, **__: None)
    silent = tmp_path / "silent.toml"
    silent.write_text("[boat]\nbackground = []\n")
    code, lines, error = call(
        "suggest",
        taught,
        "--out",
        out,
        "--work",
        tmp_path / "work",
        "--words",
        4,
        "--set",
        f"voters.t.prompts.classes={silent}",
    )
    assert code == 0, error
    assert asked == [4]
    assert "edit it" in lines[-1]
    code, lines, _ = call("show", taught, "--set", f"voters.t.prompts.classes={out}")
    assert any(re.fullmatch("boat boat moor", line) for line in lines)


def test_suggest_overwrites_nothing(call, taught, tmp_path):
    out = tmp_path / "classes.toml"
    out.write_text("mine")
    code, _, error = call("suggest", taught, "--out", out)
    assert code == 1
    assert "is there already" in error
    assert out.read_text() == "mine"
