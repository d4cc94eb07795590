import json

import pytest

import fakes
from tag2mask.data.layouts import Listed, list_json
from tag2mask.errors import DatasetError


def listing(root, classes=None):
    return list_json(root, images="images", tags="tags.json", classes=classes)


def problems(root, *rows, classes=None):
    fakes.write_json_table(root, rows, lines=True)
    prefix = f"{root}/tags.json"
    return [each.removeprefix(prefix) for each in listing(root, classes).problems]


@pytest.mark.parametrize("lines", [False, True])
def test_array_and_lines(tmp_path, lines):
    found = listing(fakes.write_json_table(tmp_path, lines=lines))
    assert found.images == (
        Listed("a", "images/a.jpg", ("cat", "dog"), "train"),
        Listed("b", "images/b.png", ("dog", "cat"), "val"),
        Listed("sub/c", "images/sub/c.webp", (), "train"),
    )
    assert found.class_names == ("background", "cat", "dog")
    assert (found.problems, found.notes) == ((), ())


def test_images_that_are_not_listed_are_noted(tmp_path):
    root = fakes.write_json_table(tmp_path, fakes.JSON_ROWS[:1])
    assert listing(root).notes == (f"2 images are not in {root}/tags.json: left out",)


def test_all_problems_come_at_once(tmp_path):
    rows = (
        {"image": "a.jpg", "tags": ["cat"]},
        {"image": "a", "tags": "cta"},
        {"image": "no", "tags": []},
        {"image": "b"},
        {"image": 3, "tags": []},
        ["b", "cat"],
        {"image": "b", "tags": ["cat", 3]},
        {"image": "b", "tags": [], "split": 3},
        {"image": "b", "tags": ["cta"]},
    )
    expected = 'expected an object such as {"image": "a.jpg", "tags": ["cat"]}'
    assert problems(tmp_path, *rows, classes=["cat"]) == [
        ": image 'a' is listed twice",
        f": image 'no' has no file in {tmp_path}/images",
        f", line 4: {expected}",
        f", line 5: {expected}",
        f", line 6: {expected}",
        ", line 7: the tags of 'b' must be names",
        ", line 8: the split of 'b' must be a name",
        ": tag 'cta' of images/b.png is no class; did you mean 'cat'?",
    ]


def test_place_in_an_array_is_an_entry(tmp_path):
    root = fakes.write_json_table(tmp_path, [fakes.JSON_ROWS[0], {}])
    assert f"{root}/tags.json, entry 2: expected" in listing(root).problems[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[{]", "Expecting property name"),
        ('{"image": "a",\n"tags": []}', "line 1: Expecting property name"),
        ('{"image": "a", "tags": []}\nx', "line 2: Expecting value"),
        ("[" * 100_000, ""),
    ],
    ids=["array", "object over lines", "line", "depth"],
)
def test_table_that_is_none_is_named(tmp_path, text, part):
    fakes.write_json_table(tmp_path)
    (tmp_path / "tags.json").write_text(text)
    with pytest.raises(DatasetError) as caught:
        listing(tmp_path)
    assert f"{tmp_path}/tags.json cannot be read as JSON: " in str(caught.value)
    assert part in str(caught.value)
    assert "; expected an array, or one object a line" in str(caught.value)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DatasetError, match="there is no image folder"):
        listing(tmp_path)
    fakes.write_json_table(tmp_path)
    (tmp_path / "tags.json").unlink()
    with pytest.raises(
        DatasetError, match=r"no table of tags .*tags\.json; check data"
    ):
        listing(tmp_path)


def test_table_without_a_row_has_no_class(tmp_path):
    root = fakes.write_json_table(tmp_path, [])
    assert json.loads((root / "tags.json").read_text()) == []
    assert listing(root).problems == (
        f"{root}/tags.json: there is no class in it; name at least one",
    )
