import zipfile

import numpy as np
import pytest
import torch

from tag2mask.artifacts import arrays
from tag2mask.artifacts.cams import CamFolder, Cams, cam_path, read_cams, write_cams
from tag2mask.errors import ArtifactError

MAPS = torch.tensor([[[0.0, 0.1], [0.5, 1.0]], [[1.0, 0.0], [0.0, 0.3]]])


@pytest.mark.parametrize("name", ["a", "sub/a.b", "zwei Bäume"])
def test_roundtrip_in_half_precision(tmp_path, name):
    write_cams(tmp_path, name, Cams(MAPS, (3, 20)))
    found = read_cams(tmp_path, name)
    assert found.class_ids == (3, 20)
    assert found.maps.dtype == torch.float32
    # 11 bits of mantissa
    torch.testing.assert_close(found.maps, MAPS, atol=2**-11, rtol=0)
    assert torch.equal(found.maps, MAPS.half().float())
    with np.load(cam_path(tmp_path, name), allow_pickle=False) as arrays:
        assert arrays["maps"].dtype == np.float16
    assert cam_path(tmp_path, name) == tmp_path / f"{name}.npz"


def test_image_without_tags_has_no_map(tmp_path):
    write_cams(tmp_path, "a", Cams(torch.zeros(0, 2, 3), ()))
    found = read_cams(tmp_path, "a")
    assert found.class_ids == ()
    assert found.maps.shape == (0, 2, 3)
    assert found.at(5, 9).shape == (0, 5, 9)


def test_maps_are_resized_between_pixel_centres():
    # centres of 4 pixels over 2: -0.25 (held at 0), 0.25, 0.75, 1.25 (held at 1)
    cams = Cams(torch.tensor([[[0.0, 1.0]]]), (1,))
    assert cams.at(1, 4).tolist() == [[[0, 0.25, 0.75, 1]]]


def test_maps_of_their_own_size_are_themselves():
    assert torch.equal(Cams(MAPS, (1, 2)).at(2, 2), MAPS)


def pickled(path):
    np.savez(path, maps=np.array([object()]), class_ids=np.array([1]))


def without_ids(path):
    np.savez(path, maps=np.zeros((1, 2, 2)))


@pytest.mark.parametrize(
    "damage",
    [
        pickled,
        without_ids,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"\0<", b"\1<")),
        lambda path: path.unlink(),
    ],
    ids=["pickle", "ids", "empty", "garbage", "truncated", "altered", "missing"],
)
def test_damaged_file_is_named_with_its_cure(tmp_path, damage):
    write_cams(tmp_path, "a", Cams(MAPS, (0, 0x3C)))
    damage(tmp_path / "a.npz")
    with pytest.raises(
        ArtifactError, match=r"a\.npz cannot be read as activation maps: .*; have it w"
    ):
        read_cams(tmp_path, "a")


def test_arrays_that_would_swell_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_MOST_BYTES", 2**20)
    wide = np.zeros((1, 1024, 512), np.float16)  # 1 MiB, and its header
    np.savez_compressed(tmp_path / "a.npz", maps=wide, class_ids=np.array([1]))
    assert (tmp_path / "a.npz").stat().st_size < 2**14
    with pytest.raises(
        ArtifactError, match=r"a\.npz .* take \d+ bytes, at most 1048576"
    ):
        read_cams(tmp_path, "a")


def test_best_score_and_its_class():
    maps = torch.tensor([[[0.2, 0.9]], [[0.2, 1.5]]])
    score, class_id = Cams(maps, (3, 20)).best_at(1, 2)
    assert score.tolist() == [[pytest.approx(0.2), 1.0]]  # held within [0, 1]
    assert class_id.tolist() == [[3, 20]]  # of equal ones the lower
    nothing, background = Cams(torch.zeros(0, 1, 1), ()).best_at(1, 2)
    assert nothing.tolist() == background.tolist() == [[0, 0]]


def test_a_folder_of_maps_is_a_mapping(tmp_path):
    for name in ("b", "a/c"):
        write_cams(tmp_path, name, Cams(MAPS, (3, 20)))
    folder = CamFolder(tmp_path)
    assert list(folder) == ["a/c", "b"]
    assert len(folder) == 2
    assert "a/c" in folder
    assert "c" not in folder
    assert folder["b"].class_ids == (3, 20)
    with pytest.raises(ArtifactError, match=r"c.npz cannot be read"):
        folder["c"]


@pytest.mark.parametrize(
    "content",
    [
        {"maps": np.zeros((2, 3, 4)), "class_ids": np.array([1])},
        {"maps": np.zeros((3, 4)), "class_ids": np.array([1, 2, 3])},
        {"maps": np.zeros((1, 3, 4)), "class_ids": np.array([[1]])},
        {"maps": np.zeros((1, 3, 4)), "class_ids": np.array([0])},
        {"maps": np.zeros((1, 3, 4)), "class_ids": np.array([255])},
        {"maps": np.array([[["a"]]]), "class_ids": np.array([1])},
        {"maps": np.zeros((1, 3, 4))},
    ],
)
def test_arrays_that_are_no_maps_are_told(tmp_path, content):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(ArtifactError, match="cannot be read as activation maps"):
        read_cams(tmp_path, "a")


def test_an_array_without_an_archive_is_told(tmp_path):
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(ArtifactError, match="cannot be read as activation maps"):
        read_cams(tmp_path, "a")


def test_a_member_that_is_no_array_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("maps.npy", b"no array")
    with pytest.raises(ArtifactError, match="cannot be read as activation maps"):
        read_cams(tmp_path, "a")
