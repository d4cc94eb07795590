import errno
import json
from pathlib import Path

import pytest

from tag2mask.artifacts.build import (
    DIGESTS,
    MANIFEST,
    WORK_VERSION,
    Artifact,
    Request,
    build,
)
from tag2mask.artifacts.environment import environment
from tag2mask.artifacts.files import SCRATCH_PREFIX, whole_file
from tag2mask.errors import ArtifactError

REQUEST = Request("vote", 1, {"min_support": 2}, {})


def write(text, name="labels.txt"):
    def make(folder):
        with whole_file(folder / name) as scratch:
            scratch.write_text(text)

    return make


def never(folder):
    pytest.fail(f"{folder} was made twice")


@pytest.fixture
def artifact(tmp_path):
    return build(tmp_path, REQUEST, write("a"))


def test_finished_artifact_is_not_made_again(tmp_path, artifact):
    assert artifact.state == "finished"
    assert build(tmp_path, REQUEST, never) == artifact
    assert artifact.folder == tmp_path / "vote" / REQUEST.key


def test_interrupted_artifact_is_continued_in_place(tmp_path):
    def crash(folder):
        write("half")(folder)
        (folder / f"{SCRATCH_PREFIX}1-2-b.txt").write_text("left by a kill")
        raise KeyboardInterrupt

    assert REQUEST.artifact(tmp_path).state == "to do"
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, REQUEST, crash)
    assert REQUEST.artifact(tmp_path).state == "interrupted"
    seen = []
    done = build(tmp_path, REQUEST, lambda folder: seen.extend(folder.iterdir()))
    assert "labels.txt" in [path.name for path in seen]
    names = {path.name for path in done.folder.iterdir()}
    assert names == {"labels.txt", DIGESTS, MANIFEST}
    assert done.problems() == []


def test_manifest_is_written_last(tmp_path, monkeypatch):
    def crash(folder, _):
        assert (folder / "labels.txt").exists()
        assert not (folder / MANIFEST).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("tag2mask.artifacts.build.write_digests", crash)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, REQUEST, write("a"))
    assert REQUEST.artifact(tmp_path).state == "interrupted"


@pytest.mark.parametrize(
    "changed",
    [
        Request("refine", 1, {"a": 1}, {"seed": Artifact(Path("seed/x"))}),
        Request("vote", 2, {"a": 1}, {"seed": Artifact(Path("seed/x"))}),
        Request("vote", 1, {"a": 2}, {"seed": Artifact(Path("seed/x"))}),
        Request("vote", 1, {"a": 1}, {"seed": Artifact(Path("seed/y"))}),
        Request("vote", 1, {"a": 1}, {"other": Artifact(Path("seed/x"))}),
        Request("vote", 1, {"a": 1}, {}),
    ],
    ids=["stage", "version", "settings", "input", "role", "none"],
)
def test_every_part_of_a_request_is_in_its_key(changed):
    request = Request("vote", 1, {"a": 1}, {"seed": Artifact(Path("seed/x"))})
    assert changed.key != request.key
    assert request.key == Request(*vars(request).values()).key


def test_work_folder_is_not_in_the_key():
    here = Request("vote", 1, {}, {"seed": Artifact(Path("here/seed/x"))})
    there = Request("vote", 1, {}, {"seed": Artifact(Path("there/seed/x"))})
    assert here.key == there.key


def test_manifest_says_how_it_came_to_be(tmp_path, artifact):
    child = build(tmp_path, Request("segment", 3, [], {"vote": artifact}), write("b"))
    manifest = child.manifest
    assert manifest["inputs"] == {"vote": artifact.key}
    assert (manifest["stage"], manifest["version"]) == ("segment", 3)
    assert artifact.manifest["settings"] == {"min_support": 2}
    assert manifest["environment"]["torch"] == environment()["torch"] != "unknown"
    assert manifest["seconds"] >= 0
    assert (child.stage, child.key) == ("segment", child.folder.name)


def test_a_stage_that_went_on_says_so(tmp_path, artifact):
    """Its seconds are then of the last attempt, and tell no speed."""
    request = Request("segment", 3, [], {"vote": artifact})

    def stop(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, request, stop)
    assert build(tmp_path, request, write("b")).manifest["resumed"] is True
    assert artifact.manifest["resumed"] is False


def test_truth_is_inherited_however_far(tmp_path):
    clean = build(tmp_path, Request("index", 1, {}, {}), write("a"))
    truth = build(tmp_path, Request("truth", 1, {}, {}, uses_truth=True), write("a"))
    both = {"index": clean, "labels": truth}
    child = build(tmp_path, Request("segment", 1, {}, both), write("a"))
    grandchild = build(tmp_path, Request("predict", 1, {}, {"s": child}), write("a"))
    assert [a.uses_truth for a in (clean, truth, child, grandchild)] == [
        False,
        True,
        True,
        True,
    ]


def test_unfinished_artifact_has_no_manifest(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not finished: run its recipe again"):
        _ = REQUEST.artifact(tmp_path).manifest


def rewrite(artifact, **changes):
    path = artifact.folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return Artifact(artifact.folder)


def test_newer_version_is_refused_and_never_reused(tmp_path, artifact):
    newer = rewrite(artifact, work_version=WORK_VERSION + 1)
    message = (
        rf"was written by a newer tag2mask \(work version {WORK_VERSION + 1}, this "
        rf"one reads {WORK_VERSION}\): upgrade tag2mask or choose another --work"
    )
    with pytest.raises(ArtifactError, match=message):
        _ = newer.manifest
    with pytest.raises(ArtifactError, match=message):
        build(tmp_path, REQUEST, never)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"icons": []}', '{"work_version": 1', "", '{"work_version": 1}',
     "\0\0\0", '{"work_version": "1"}'],
)  # fmt: skip
def test_manifest_of_something_else_is_refused(artifact, content):
    (artifact.folder / MANIFEST).write_text(content)
    damaged = Artifact(artifact.folder).problems()
    assert damaged == [f"{artifact.folder / MANIFEST} is missing or damaged"]
    with pytest.raises(ArtifactError, match=r"manifest\.json is no manifest of tag2m"):
        _ = Artifact(artifact.folder).manifest


def test_every_kind_of_change_is_found(artifact):
    folder = artifact.folder
    assert artifact.problems() == []
    (folder / "labels.txt").write_text("b")
    assert artifact.problems() == [
        f"{folder / 'labels.txt'} is not the file that its stage wrote"
    ]
    (folder / "labels.txt").unlink()
    (folder / "new.txt").touch()
    assert artifact.problems() == [
        f"{folder / 'labels.txt'} is missing",
        f"{folder / 'new.txt'} was added after its stage finished",
    ]


def test_altered_listing_hides_nothing(artifact):
    listing = artifact.folder / DIGESTS
    listing.write_text("")
    assert artifact.problems() == [f"{listing} is missing or altered"]
    listing.unlink()
    assert artifact.problems() == [f"{listing} is missing or altered"]


def test_damaged_input_is_refused_before_it_is_read(tmp_path, artifact):
    (artifact.folder / "labels.txt").write_text("b")
    (artifact.folder / "added by a viewer").touch()
    child = Request("segment", 1, {}, {"vote": Artifact(artifact.folder)})
    with pytest.raises(ArtifactError) as caught:
        build(tmp_path, child, never)
    assert str(caught.value) == (
        f"{artifact.folder / 'labels.txt'} is not the file that its stage wrote; run "
        f"`tag2mask verify {tmp_path} --repair`, then the same command again"
    )


def test_what_a_viewer_adds_to_an_input_is_no_damage(tmp_path, artifact):
    (artifact.folder / "Thumbs.db").touch()
    child = Request("segment", 1, {}, {"vote": Artifact(artifact.folder)})
    assert build(tmp_path, child, write("b")).state == "finished"


def test_discarded_artifact_is_to_do(tmp_path, artifact):
    artifact.discard()
    assert REQUEST.artifact(tmp_path).state == "to do"


def test_full_disk_leaves_an_artifact_that_continues(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(ArtifactError) as caught:
            build(tmp_path, REQUEST, write("a"))
    assert "labels.txt: No space left on device; make room" in str(caught.value)
    assert REQUEST.artifact(tmp_path).state == "interrupted"
    assert build(tmp_path, REQUEST, write("a")).problems() == []


def test_work_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"cannot make .*; choose another --work"):
        build(tmp_path / "file", REQUEST, never)
