import unicodedata

import pytest

from tag2mask.data.layouts import Listed, list_folder
from tag2mask.errors import DatasetError

TABLE = "image,tags\na,cat\nb.jpg,cat;dog\n"


@pytest.fixture
def root(tmp_path):
    """A folder of empty files: a layout does not look into them."""
    for name in ("a.jpg", "b.jpg", "sub/c.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def listing(root, table=TABLE, *, classes=None, encoding="utf-8"):
    (root / "tags.csv").write_bytes(table.encode(encoding))
    return list_folder(root, images="images", tags="tags.csv", classes=classes)


def problems(root, *rows, classes=None):
    found = listing(root, "\n".join(["image,tags", *rows]), classes=classes).problems
    return [each.removeprefix(f"{root}/tags.csv") for each in found]


def test_plain_folder(root):
    found = listing(root)
    assert found.images == (
        Listed("a", "images/a.jpg", ("cat",), "train"),
        Listed("b", "images/b.jpg", ("cat", "dog"), "train"),
    )
    assert found.class_names == ("background", "cat", "dog")
    assert found.problems == ()
    assert found.notes == (f"1 images are not in {root}/tags.csv: left out",)


def test_order_of_rows_does_not_matter(root):
    found = listing(root, "image,tags\nsub/c,cat\nb,\na,cat\n")
    assert [image.name for image in found.images] == ["a", "b", "sub/c"]


@pytest.mark.parametrize(
    "table",
    [
        "\ufeff" + TABLE,
        TABLE.replace("\n", "\r\n"),
        "image, tags\na, cat\nb, cat ; dog;;cat;\n\n",
        '"tags","image"\n"cat","a"\n"cat;dog","./b.jpg"\n',
    ],
    ids=["byte order mark", "line ends", "spaces", "quotes"],
)
def test_ways_to_write_the_same_table(root, table):
    assert listing(root, table) == listing(root)


def test_split_column(root):
    found = listing(root, "image,split,tags\na,train,cat\nb, val ,cat\nsub/c,,cat\n")
    assert [image.split for image in found.images] == ["train", "val", ""]


@pytest.mark.parametrize(
    "table",
    [
        ",image,tags\n0,a,cat\n1,b,dog\n",  # as pandas writes an index
        "image,tags,\na,cat,\nb,dog,\n",
        "image,note,tags\na,x,cat\nb,,dog\n",
    ],
)
def test_other_columns_do_not_count(root, table):
    found = listing(root, table)
    assert [image.tags for image in found.images] == [("cat",), ("dog",)]
    assert found.problems == ()


def test_a_column_that_is_there_twice_is_told(root):
    with pytest.raises(DatasetError, match="has the column tags twice; remove or"):
        listing(root, "image,tags,tags\na,cat,dog\n")


def test_tags_that_differ_in_case_alone_are_told(root):
    rows = "image,tags\na,Cat\nb,cat;dog\n"
    (found,) = listing(root, rows).problems
    assert "the tags 'Cat' and 'cat' differ in case or composed accents alone" in found
    assert listing(root, rows, classes=["Cat", "cat", "dog"]).problems == ()


def test_image_of_another_format_is_told(root):
    (root / "images" / "z.gif").touch()
    (root / "images" / ".h").mkdir()
    (root / "images" / ".h" / "c.jpg").touch()
    found = problems(root, "a,cat", "z.gif,cat", ".h/c.jpg,cat")
    assert found[0].startswith(": image 'z.gif' is of a format that is not read; conv")
    assert found[1].startswith(": image '.h/c.jpg' lies in a folder that is hidden")


def test_image_without_tags_is_allowed(root):
    found = listing(root, "image,tags\na,\nb\nsub/c,cat\n")
    assert [image.tags for image in found.images] == [(), (), ("cat",)]
    assert found.problems == ()


@pytest.mark.parametrize(
    "name", ["two words", "Bäume🌳", "a.b.c", "a,b", "x;y", 'say "hi"', "sub dir/ü"]
)
def test_names_of_any_kind(root, name):
    path = root / "images" / f"{name}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    quoted = name.replace('"', '""')
    for suffix in ("", ".jpg"):
        found = listing(root, f'image,tags\n"{quoted}{suffix}",cat\n')
        assert found.problems == ()
        assert found.images == (Listed(name, f"images/{name}.jpg", ("cat",), "train"),)


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_composed_otherwise_than_on_disk(root, on_disk, written):
    name = unicodedata.normalize(on_disk, "Bäume é")
    (root / "images" / f"{name}.jpg").touch()
    row = unicodedata.normalize(written, "Bäume é")
    found = listing(root, f"image,tags\n{row}.jpg,cat\n")
    assert found.problems == ()
    assert found.images[0].name == name


def test_images_may_lie_elsewhere(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "z.jpg").touch()
    (root / "tags.csv").write_text("image,tags\nz,cat\n")
    found = list_folder(root, images=str(other), tags="tags.csv", classes=None)
    assert found.images[0].file == f"{other}/z.jpg"


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (None, ("background", "cat", "dog")),
        (["dog", "cat", "emu"], ("background", "dog", "cat", "emu")),
        ("names.txt", ("background", "emu", "dog", "cat")),
    ],
)
def test_classes_are_found_or_given(root, classes, expected):
    (root / "names.txt").write_text("background\nemu\ndog\ncat\n")
    found = listing(root, classes=classes)
    assert found.class_names == expected
    assert found.problems == ()


def test_unknown_tag_with_the_nearest_name(root):
    rows = "a,cta", "b,zebra", "sub/c,cta;dog"
    assert problems(root, *rows, classes=["cat", "dog"]) == [
        ": tag 'cta' of images/a.jpg and 1 more is no class; did you mean 'cat'?",
        ": tag 'zebra' of images/b.jpg is no class",
    ]


def test_background_is_no_tag(root):
    assert problems(root, "a,background;ant") == [
        ": tag 'background' of images/a.jpg is no class"
    ]


def test_image_without_file(root):
    (found,) = problems(root, "nowhere.jpg,cat", "a,cat")
    assert found == f": image 'nowhere.jpg' has no file in {root}/images"


def test_image_listed_twice(root):
    assert problems(root, "a,cat", "a.jpg,dog") == [": image 'a' is listed twice"]


def test_suffix_decides_where_names_are_ambiguous(root):
    (root / "images" / "a.png").touch()
    assert problems(root, "a,cat", "b,cat") == [
        ": image 'a' could be a.jpg and a.png; write the suffix"
    ]
    assert listing(root, "image,tags\na.png,cat\n").images[0].file == "images/a.png"
    assert problems(root, "a.png,cat", "a.jpg,cat") == [
        ": images/a.png and images/a.jpg would share the label map a.png; rename one"
    ]


def test_more_fields_than_columns(root):
    assert problems(root, "a,cat", "b,cat,dog") == [
        ', line 3: more fields than columns; separate tags by ";", or quote a name '
        "that has a comma"
    ]


def test_no_class_at_all(root):
    assert problems(root, "a,", "b,") == [
        ": there is no class in it; name at least one"
    ]


def test_problems_are_collected(root):
    rows = "a,cta", "b,cat,dog", "nowhere,cat", "a,cat", "sub/c,cat"
    assert len(problems(root, *rows, classes=["cat"])) == 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,tags\na,cat\n", r"expected the columns .*; image not among name, tags"),
        ("image;tags\na;cat\n", "; image and tags not among image;tags"),
        ("", "image and tags not among none"),
        ('image,tags\n"a,cat\n', "cannot be read as a CSV table: unexpected end"),
    ],
)
def test_table_that_is_none_is_named(root, table, message):
    with pytest.raises(DatasetError, match=rf"tags\.csv.*{message}"):
        listing(root, table)


def test_table_of_another_encoding_is_named(root):
    with pytest.raises(
        DatasetError, match=r"tags\.csv cannot be read as a CSV table: "
    ):
        listing(root, "image,tags\na,größe\n", encoding="latin-1")


def test_what_is_missing_is_named(root):
    with pytest.raises(
        DatasetError, match=r"no table of tags .*tags\.csv; check data\."
    ):
        list_folder(root, images="images", tags="tags.csv", classes=None)
    with pytest.raises(
        DatasetError, match=r"no image folder .*/photos; check data\.ro"
    ):
        list_folder(root, images="photos", tags="tags.csv", classes=None)
    with pytest.raises(
        DatasetError, match=r"names\.txt cannot be read as a class list"
    ):
        listing(root, classes="names.txt")
    (root / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty holds no image; .* \.jpg, \.jpeg,"):
        list_folder(root, images="empty", tags="tags.csv", classes=None)
