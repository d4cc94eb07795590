"""Marks of a review: kept line by line, honoured by the next index."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.data.review import Mark, ReviewFile
from tag2mask.errors import ArtifactError, DatasetError


@pytest.fixture
def review(tmp_path):
    return ReviewFile(tmp_path / "new" / "review.jsonl")


def test_no_file_holds_no_marks(review):
    assert review.read() == {}


def test_the_last_mark_of_an_image_counts(review):
    for image, kind in [
        ("a", "leave_out"), ("b", "wrong_tags"), ("c", "leave_out"),
        ("a", "wrong_tags"), ("c", "keep"),
    ]:  # fmt: skip
        review.append(Mark(image, kind, ("cat",)))
    assert {name: mark.mark for name, mark in review.read().items()} == {
        "a": "wrong_tags",
        "b": "wrong_tags",
    }
    assert len(review.path.read_text().splitlines()) == 5  # nothing is taken away


@settings(deadline=None)  # a disk may take its time
@given(st.text(), st.lists(st.text()))
def test_any_name_and_tag_comes_back(tmp_path_factory, name, tags):
    review = ReviewFile(tmp_path_factory.mktemp("r") / "review.jsonl")
    mark = Mark(name, "leave_out", tuple(tags))
    review.append(mark)
    assert review.read() == {name: mark}


@pytest.mark.parametrize(
    ("mark", "tags", "is_out"),
    [
        ("leave_out", {"cat"}, True),
        ("leave_out", {"dog"}, True),
        ("wrong_tags", ["dog", "cat"], True),  # the order is of no account
        ("wrong_tags", {"cat"}, False),  # mended since
        ("wrong_tags", {"cat", "dog", "emu"}, False),
    ],
)
def test_wrong_tags_count_until_the_tags_change(mark, tags, is_out):
    assert Mark("a", mark, ("cat", "dog")).leaves_out(tags) is is_out


def test_a_line_cut_by_a_crash_does_not_count_and_is_replaced(review):
    review.append(Mark("a", "leave_out", ()))
    whole = review.path.read_bytes()
    for cut in range(1, len(whole) - 1):
        review.path.write_bytes(whole + whole[:cut])
        assert set(review.read()) == {"a"}
        review.append(Mark("b", "leave_out", ()))
        assert set(review.read()) == {"a", "b"}
        assert review.path.read_bytes().startswith(whole + b'{"image": "b"')


def test_a_line_typed_without_its_break_counts_and_stays(review):
    review.append(Mark("a", "leave_out", ()))
    with review.path.open("a") as stream:
        stream.write('{"image": "b", "mark": "leave_out"}')
    assert set(review.read()) == {"a", "b"}
    review.append(Mark("c", "leave_out", ()))
    assert set(review.read()) == {"a", "b", "c"}


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "7", "null", '{"image": "a"}', '{"image": "a", "mark": "burn"}',
     '{"image": 3, "mark": "keep"}', '{"image": "a", "mark": "keep", "tags": [3]}',
     '{"image": "a", "mark": ["keep"]}', "[" * 100_000, "\\x00"],
    ids=lambda line: line[:30],
)  # fmt: skip
def test_a_line_that_is_no_mark_is_named(review, line):
    review.append(Mark("a", "leave_out", ()))
    with review.path.open("a") as stream:
        stream.write(f"\n{line}\n")
    with pytest.raises(DatasetError, match=r"review.jsonl, line 3: expected an object"):
        review.read()


def test_a_folder_of_that_name_is_told(review):
    review.path.mkdir(parents=True)
    with pytest.raises(DatasetError, match="cannot be read as a review"):
        review.read()
    with pytest.raises(ArtifactError, match=r"cannot write .*data.review"):
        review.append(Mark("a", "leave_out", ()))


def test_a_mark_that_cannot_be_synced_leaves_the_file_as_it_was(review, monkeypatch):
    review.append(Mark("a", "leave_out", ()))
    before = review.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device; make room"):
        review.append(Mark("b", "leave_out", ()))
    assert review.path.read_bytes() == before


def test_a_mark_is_one_line_of_json(review):
    review.append(Mark("a", "leave_out", ("cat", "dog")))
    assert json.loads(review.path.read_text()) == {
        "image": "a",
        "mark": "leave_out",
        "tags": ["cat", "dog"],
    }
