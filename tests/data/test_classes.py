import pytest

from tag2mask.data.classes import nearest, read_class_names, with_background
from tag2mask.errors import DatasetError


def test_file_has_one_name_a_line(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffcat\r\n\r\n potted plant \nölbaum".encode())
    assert read_class_names(path) == ("cat", "potted plant", "ölbaum")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "classes.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"classes\.txt cannot be read as a class l"):
        read_class_names(path)


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("names", [["cat", "dog"], ["background", "cat", "dog"]])
def test_background_is_first_and_there_once(kind, names):
    found = with_background(kind(names), source="x")
    assert found == ("background", "cat", "dog")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "x: there is no class in it; name at least one"),
        (["background"], "x: there is no class in it"),
        (["cat", "dog", "cat", "dog"], "x: class cat, dog is named twice"),
        (["cat", "background"], "x: 'background' may only be the first class, once"),
        (["background", "background", "a"], "x: 'background' may only be the first"),
        (["cat", " "], "x: a class has no name"),
        ([f"c{n}" for n in range(255)], "x: 255 classes; an 8-bit label map holds at"),
    ],
)
def test_list_that_is_none_says_why(names, message):
    with pytest.raises(DatasetError, match=message):
        with_background(names, source="x")


def test_as_many_classes_as_ids_below_ignore():
    names = with_background([f"c{n}" for n in range(254)], source="x")
    assert names.index("c253") == 254


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "; did you mean 'train'?"),
        ("TRAIN", "; did you mean 'train'?"),
        ("tvmonitr", "; did you mean 'TVmonitor'?"),
        ("zebra", ""),
    ],
)
def test_nearest_name(name, hint):
    assert nearest(name, ["boat", "train", "TVmonitor"]) == hint


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\x1b[31m", "\ud800"])
def test_a_class_named_by_control_codes_is_refused(name):
    with pytest.raises(DatasetError, match="a line break or another control code"):
        with_background((name,), source="classes")


def test_a_class_may_be_named_by_anything_that_can_be_seen():
    names = ("<b>", "=1+1", "été", "猫", "👩‍🔬")
    assert with_background(names, source="classes")[1:] == names
