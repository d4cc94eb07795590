import pytest

from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.errors import ArtifactError

IMAGES = (
    ImageRecord("a b", "images/a b.jpg", 4, 3, (1, 2), "train"),
    ImageRecord("sub/ö\u2028", "images/sub/ö\u2028.png", 1, 1, (), "val"),
)


@pytest.fixture
def index(tmp_path):
    write_index(tmp_path / "made", iter(IMAGES), ("background", "katze", "öl"), ["n"])
    return Index(tmp_path / "made", tmp_path / "root")


def test_roundtrip(index, tmp_path):
    assert index.images == IMAGES
    assert index.class_names == ("background", "katze", "öl")
    assert index.num_classes == 3
    assert index.notes == ("n",)
    assert index.path(IMAGES[0]) == tmp_path / "root" / "images" / "a b.jpg"


def test_splits(index):
    assert index.split("train") == IMAGES[:1]
    assert index.split("val") == IMAGES[1:]
    assert index.split("other") == ()


def test_absolute_file_is_not_below_the_root(tmp_path):
    image = IMAGES[0]._replace(file=f"{tmp_path}/x.jpg")
    assert Index(tmp_path, tmp_path / "root").path(image) == tmp_path / "x.jpg"


@pytest.mark.parametrize("content", ['{"name": "a"}\n', "{\n", "[1]\n", None])
def test_damaged_table_is_named_with_its_cure(index, content):
    path = index.folder / "images.jsonl"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(
        ArtifactError, match=r"images\.jsonl cannot be read as an index: .*; have it"
    ):
        _ = index.images
