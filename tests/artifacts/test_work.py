import os

import pytest

from tag2mask.artifacts.build import Request, build
from tag2mask.artifacts.files import read_json, write_json
from tag2mask.artifacts.work import (
    artifacts_below,
    folder_size,
    latest_summary,
    unused,
    verify,
)
from tag2mask.errors import ArtifactError


def make(work, stage, settings=0):
    request = Request(stage, 1, settings, {})
    return build(work, request, lambda folder: (folder / "x").write_text("four"))


def summarise(work, name, *artifacts):
    rows = [{"stage": a.stage, "key": a.key} for a in artifacts]
    path = work / "runs" / name / "summary.json"
    write_json(path, {"stages": rows})
    return path


def test_finished_artifacts_are_listed_by_stage(tmp_path):
    made = [make(tmp_path, "vote"), make(tmp_path, "index")]
    (tmp_path / "vote" / "0123456789ab").mkdir()
    assert artifacts_below(tmp_path) == made[::-1]


def test_folder_without_artifacts_is_no_work_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ArtifactError, match="holds no finished artifact; is it a"):
            artifacts_below(folder)
    with pytest.raises(ArtifactError, match="holds no finished artifact"):
        unused(tmp_path)


def test_unused_is_what_no_summary_names(tmp_path):
    index, first, second = (make(tmp_path, *x) for x in (("i",), ("v", 1), ("v", 2)))
    summarise(tmp_path, "one", index, first)
    assert unused(tmp_path) == [second]
    summarise(tmp_path, "two", index, second)
    assert unused(tmp_path) == []
    assert {a.key for a in (first, second)} == {
        a.key for a in artifacts_below(tmp_path)
    } - {index.key}


@pytest.mark.parametrize("record", [[], {}, {"stages": [1]}, {"stages": [{}]}])
def test_a_summary_that_is_none_is_named(tmp_path, record):
    summarise(tmp_path, "one", make(tmp_path, "vote"))
    write_json(tmp_path / "runs" / "one" / "summary.json", record)
    with pytest.raises(
        ArtifactError, match=r"one/summary\.json is no summary of a run"
    ):
        unused(tmp_path)


def test_key_of_another_stage_keeps_nothing(tmp_path):
    made = make(tmp_path, "vote")
    (tmp_path / "index").mkdir()
    summarise(tmp_path, "one")
    write_json(
        tmp_path / "runs" / "one" / "summary.json",
        {"stages": [{"stage": "index", "key": made.key}]},
    )
    assert unused(tmp_path) == [made]


def test_unfinished_is_unused_and_what_is_no_artifact_is_left_alone(tmp_path):
    made = make(tmp_path, "vote")
    summarise(tmp_path, "one", made)
    (tmp_path / "vote" / "0123456789ab").mkdir()
    (tmp_path / "vote" / "holiday photos").mkdir()
    (tmp_path / "photos" / "0123456789ab").mkdir(parents=True)
    (tmp_path / "vote" / "notes.txt").touch()
    assert [each.key for each in unused(tmp_path)] == ["0123456789ab"]


def test_latest_summary(tmp_path):
    with pytest.raises(ArtifactError, match="holds no finished run: there is no summ"):
        latest_summary(tmp_path)
    older, newer = summarise(tmp_path, "a"), summarise(tmp_path, "b")
    os.utime(older, (1, 1))
    assert latest_summary(tmp_path) == newer
    os.utime(older, None)
    os.utime(newer, (2, 2))
    assert latest_summary(tmp_path) == older
    assert latest_summary(newer) == latest_summary(newer.parent) == newer


def test_size_counts_every_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_text("four")
    (tmp_path / "sub" / "b").write_text("seven!!")
    assert folder_size(tmp_path) == 11


def test_repair_deletes_what_is_damaged_and_nothing_else(tmp_path):
    whole, cut, added = (make(tmp_path, *x) for x in (("i",), ("v", 1), ("v", 2)))
    (cut.folder / "x").write_text("fou")
    (added.folder / "Thumbs.db").touch()
    lines = verify(tmp_path)
    assert next(lines) == f"{cut.folder / 'x'} is not the file that its stage wrote"
    told = f"2 files are .* `tag2mask verify {tmp_path} --repair` deletes the 1 artif"
    with pytest.raises(ArtifactError, match=told):
        list(lines)
    *_, last = verify(tmp_path, repair=True)
    assert last.startswith("deleted 1 of 3 artifacts; run the recipe again")
    assert [each.state for each in (whole, cut, added)] == [
        "finished",
        "to do",
        "finished",
    ]
    with pytest.raises(ArtifactError, match="1 files were added to artifacts: delete"):
        list(verify(tmp_path, repair=True))
    (added.folder / "Thumbs.db").unlink()
    assert list(verify(tmp_path)) == ["2 artifacts are as they were written"]


def test_repair_leaves_alone_what_a_newer_version_wrote(tmp_path):
    made = make(tmp_path, "vote")
    record = read_json(made.folder / "manifest.json") | {"work_version": 99}
    write_json(made.folder / "manifest.json", record)
    with pytest.raises(ArtifactError, match="was written by a newer tag2mask"):
        list(verify(tmp_path, repair=True))
    assert made.state == "finished"
