import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.artifacts.files import SCRATCH_PREFIX
from tag2mask.artifacts.labels import (
    LabelFolder,
    read_index_png,
    write_labels,
    write_support,
)
from tag2mask.errors import ArtifactError
from tag2mask.functional.palette import voc_palette

LABELS = torch.tensor([[0, 1, 20], [254, 255, 7]], dtype=torch.uint8)


def png(path, pixels: bytes, *, width: int, depth: int, colour: int) -> None:
    """Write a PNG of one row, in a depth that Pillow does not write."""

    def chunk(kind, data):
        checked = kind + data
        length = struct.pack(">I", len(data))
        return length + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + pixels))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", ["a", "sub/dir/a", "a.b", "two words", "Bäume🌳"])
@pytest.mark.parametrize("write", [write_labels, write_support])
def test_roundtrip(tmp_path, name, write):
    write(tmp_path, name, LABELS)
    folder = LabelFolder(tmp_path)
    assert torch.equal(folder[name], LABELS)
    assert list(folder) == [name]
    assert name in folder
    assert folder.path(name) == tmp_path / f"{name}.png"


def test_slice_of_a_larger_map_is_written_as_it_looks(tmp_path):
    write_labels(tmp_path, "a", LABELS.T[::2])
    assert torch.equal(LabelFolder(tmp_path)["a"], LABELS.T[::2])


def test_labels_have_the_palette_and_support_is_grey(tmp_path):
    write_labels(tmp_path, "labels", LABELS)
    write_support(tmp_path, "support", LABELS)
    with Image.open(tmp_path / "labels.png") as picture:
        assert (picture.mode, picture.format) == ("P", "PNG")
        assert picture.getpalette() == voc_palette()
    with Image.open(tmp_path / "support.png") as picture:
        assert picture.mode == "L"


def test_folder_is_a_mapping_in_the_order_of_names(tmp_path):
    for name in ("b", "a/z", "c"):
        write_labels(tmp_path, name, LABELS)
    (tmp_path / "notes.txt").touch()
    (tmp_path / f"{SCRATCH_PREFIX}1-2-d.png").touch()
    folder = LabelFolder(tmp_path)
    assert list(folder) == ["a/z", "b", "c"]
    assert len(folder) == 3
    assert "d" not in folder
    with pytest.raises(ArtifactError, match=r"/d\.png: there is no such label map"):
        folder["d"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_colours_and_other_depths_are_refused(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.new(mode, (2, 2)).save(path)
    message = (
        rf"a\.png: expected an 8-bit palette or grey PNG .*got mode {mode}, .*save"
    )
    with pytest.raises(ArtifactError, match=message):
        read_index_png(path)


def test_grey_of_four_bits_is_not_read_as_other_ids(tmp_path):
    # Pillow stretches 1 and 2 of 15 to 17 and 34 of 255
    png(tmp_path / "a.png", b"\x12", width=2, depth=4, colour=0)
    with pytest.raises(ArtifactError, match="got mode L, 4 bits; save it as an index"):
        read_index_png(tmp_path / "a.png")


def test_palette_of_few_bits_is_read(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [3, 2]], np.uint8))
    picture.putpalette(voc_palette(4))
    picture.save(tmp_path / "a.png", bits=2)
    assert read_index_png(tmp_path / "a.png").tolist() == [[0, 1], [3, 2]]


def test_jpeg_in_disguise_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(ArtifactError, match=r"a\.png cannot be read as a PNG"):
        read_index_png(tmp_path / "a.png")


@pytest.mark.parametrize("size", [0, 10, 60, -60])
def test_truncated_file_is_named(tmp_path, size):
    write_labels(tmp_path, "a", torch.randint(0, 9, (30, 30), dtype=torch.uint8))
    path = tmp_path / "a.png"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArtifactError, match=r"a\.png cannot be read as a PNG: \S"):
        LabelFolder(tmp_path)["a"]


def test_bomb_is_refused(tmp_path, monkeypatch):
    write_labels(tmp_path, "a", LABELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(ArtifactError, match=r"a\.png cannot be read as a PNG: .*bomb"):
        LabelFolder(tmp_path)["a"]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.png cannot be read as a PNG: .*No"):
        read_index_png(tmp_path / "none.png")


def test_a_picture_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(path)
    # Pillow alone warns of 25 and refuses from 2 * 24 + 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24)
    with pytest.raises(ArtifactError, match="25 pixels"):
        read_index_png(path)
