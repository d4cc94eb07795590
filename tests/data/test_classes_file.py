import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.data.classes import (
    ClassPrompts,
    describe_classes,
    format_class_prompts,
    read_class_prompts,
    write_class_prompts,
)
from tag2mask.data.published import COCO_CLASSES
from tag2mask.errors import ArtifactError, DatasetError

law = settings(deadline=None, max_examples=60)
KNOWN = (
    ClassPrompts("train", ("train",), ("rails", "platform")),
    ClassPrompts("my boat", ("my boat",), ()),
)
markup = st.sampled_from(
    ['"', "\\", "'''", "\n", "\r", "\t", "\x00", "\x7f", "# a", "[b]", "a.b", "=", "é"]
)
texts = (
    st.lists(markup | st.text(st.characters(codec="utf-8"), max_size=4), max_size=4)
    .map(lambda parts: "".join(parts).strip())
    .filter(bool)
)


@st.composite
def class_rows(draw):
    """Tag, names and background of a few classes."""
    tags = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    found = []
    for tag in tags:
        words = st.lists(texts, min_size=1, max_size=5, unique_by=str.casefold)
        every = draw(words)
        cut = draw(st.integers(1, len(every)))
        found.append((tag, tuple(every[:cut]), tuple(every[cut:])))
    return found


def read(tmp_path, text, known=KNOWN):
    path = tmp_path / "classes.toml"
    path.write_text(text, encoding="utf-8")
    return read_class_prompts(path, known)


@law
@given(class_rows())
def test_what_is_written_is_read(tmp_path_factory, rows):
    classes = tuple(ClassPrompts(*row) for row in rows)
    path = tmp_path_factory.mktemp("round") / "classes.toml"
    write_class_prompts(path, classes)
    blank = [ClassPrompts(each.tag, ("something else",)) for each in classes]
    assert read_class_prompts(path, blank) == classes


@pytest.mark.parametrize("preset", ["plain", "clims", "clip_es"])
def test_shipped_knowledge_makes_a_file_that_is_read(tmp_path, preset):
    path = tmp_path / "new" / "classes.toml"
    classes = describe_classes(tuple(COCO_CLASSES.values()), preset=preset)
    write_class_prompts(path, classes)
    assert read_class_prompts(path, classes) == classes


def test_file_explains_itself(tmp_path):
    path = tmp_path / "classes.toml"
    write_class_prompts(path, KNOWN)
    text = path.read_text()
    assert text.startswith("# What the image-text model is told of each class.\n")
    assert text.endswith(
        '\n\n[train]\nnames = ["train"]\nbackground = ["rails", "platform"]\n'
        '\n["my boat"]\nnames = ["my boat"]\nbackground = []\n'
    )
    assert tomllib.loads(text) == tomllib.loads(format_class_prompts(KNOWN))


def test_a_file_that_cannot_be_written_leaves_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write .*classes\.toml"):
        write_class_prompts(tmp_path / "file" / "classes.toml", KNOWN)


def test_what_the_file_does_not_say_stays(tmp_path):
    assert read(tmp_path, "") == KNOWN
    train, boat = read(tmp_path, '[train]\nnames = [" tram ", "streetcar"]')
    assert train == ClassPrompts("train", ("tram", "streetcar"), ("rails", "platform"))
    assert boat == KNOWN[1]
    train, _ = read(tmp_path, "[train]\nbackground = []")
    assert train == ClassPrompts("train", ("train",), ())


def test_words_of_ours_that_mention_a_new_name_are_left_out(tmp_path):
    train, _ = read(tmp_path, '["my boat"]\nnames = ["rail"]')
    assert train.background == ("platform",)


def test_words_of_the_user_may_be_other_classes(tmp_path):
    _, boat = read(tmp_path, '["my boat"]\nbackground = ["train"]')
    assert boat.background == ("train",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[trian]", "[trian] is no class of the data; did you mean 'train'?"),
        ('["a b"]', '["a b"] is no class of the data'),
        ("train = 3", '[train]: expected a table with names = ["..."], got 3'),
        (
            "[train]\nname = []",
            "[train]: there is no key 'name'; did you mean 'names'?",
        ),
        (
            "[train]\nx = 1",
            "[train]: there is no key 'x'; there are names and background",
        ),
        (
            "[train]\nnames = []",
            "[train].names: a class needs a name; leave the key out",
        ),
        (
            '[train]\nnames = "tram"',
            "[train].names: expected a list such as [\"sky\"], got 'tram'",
        ),
        (
            "[train]\nbackground = [3]",
            "[train].background: expected words in quotes, got 3",
        ),
        (
            '[train]\nbackground = ["sky", " "]',
            "[train].background: expected words in quotes, got ' '",
        ),
        (
            '[train]\nbackground = ["sky", "Sky"]',
            "[train]: 'Sky' is there twice, names and background taken together",
        ),
        ('[train]\nbackground = ["train"]', "[train]: 'train' is there twice"),
        ('["my boat"]\nnames = ["a", "a"]', "[\"my boat\"]: 'a' is there twice"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, line):
    heading = "classes.toml: 1 problems with the classes:\n  "
    with pytest.raises(DatasetError, match=re.escape(heading + line)):
        read(tmp_path, text)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    text = '[trian]\n[train]\nnames = [""]\nx = 1\n["my boat"]\nbackground = ["a", "a"]'
    with pytest.raises(DatasetError, match="4 problems") as caught:
        read(tmp_path, text)
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == [
        "[trian]",
        "[train].names:",
        "[train]:",
        '["my',
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no file of classes .*classes\.toml"),
        (b"[train]\nnames = [", r"classes\.toml is not TOML: .*line 2|end of document"),
        (b"[train]\n[train]", r"classes\.toml is not TOML: .*line 2"),
        (b"\xff\xfe", r"classes\.toml cannot be read: .*utf-8"),
    ],
)
def test_file_that_is_none(tmp_path, content, message):
    path = tmp_path / "classes.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_class_prompts(path, KNOWN)


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 9000])
def test_numbers_and_lists_without_end_are_told(tmp_path, text):
    path = tmp_path / "classes.toml"
    path.write_text(text)
    with pytest.raises(DatasetError, match="is not TOML"):
        read_class_prompts(path, ())
