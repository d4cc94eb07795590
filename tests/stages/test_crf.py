import os

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.artifacts.cams import Cams, write_cams
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError, DatasetError
from tag2mask.stages import crf
from tag2mask.stages.crf import CrfChoices

SIZE = 32


@pytest.fixture
def images(tmp_path):
    """Left half red, right half grey, with a little noise; one in a subfolder."""
    generator = np.random.default_rng(0)
    for name in ("a", "sub/b"):
        pixels = np.full((SIZE, SIZE, 3), 128)
        pixels[:, : SIZE // 2] = 250, 20, 20
        pixels += generator.integers(-6, 6, pixels.shape)
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return tmp_path / "images"


def halves(edge=SIZE // 2):
    labels = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    labels[:, :edge] = 7
    return labels


@pytest.fixture
def labels(tmp_path):
    """Class 7 on the left, but four columns too far to the right."""
    for name in ("a", "sub/b"):
        write_labels(tmp_path / "labels", name, halves(SIZE // 2 + 4))
    return tmp_path / "labels"


@pytest.fixture
def maps(tmp_path):
    """Class 7 on the left, fading out beyond the edge, which lies after column 4."""
    row = torch.tensor([0.95, 0.9, 0.9, 0.8, 0.6, 0.3, 0.1, 0.0])
    found = row.expand(1, 8, 8).contiguous()
    write_cams(tmp_path / "maps", "a", Cams(found, (7,)))
    write_cams(tmp_path / "maps", "sub/b", Cams(torch.zeros(0, 8, 8), ()))
    return tmp_path / "maps"


def run(scores, images, out, **choices):
    runtime = Runtime(workers=1)
    return crf.run(scores, images, out, CrfChoices(**choices), runtime=runtime)


def errors(found, truth):
    return (found != truth).sum().item()


@pytest.mark.parametrize("preset", ["seeds", "irnet"])
def test_label_maps_move_to_the_edge(labels, images, tmp_path, preset):
    assert run(labels, images, tmp_path / "out", preset=preset) == 2
    found = LabelFolder(tmp_path / "out")
    assert list(found) == ["a", "sub/b"]
    # of 4 columns of 32 pixels
    assert errors(LabelFolder(labels)["a"], halves()) == 128
    assert errors(found["a"], halves()) < 32


def test_activation_maps_move_to_the_edge(maps, images, tmp_path):
    assert run(maps, images, tmp_path / "out") == 2
    found = LabelFolder(tmp_path / "out")
    assert errors(found["a"], halves()) < 32
    assert not found["sub/b"].any()  # without a tag it is background


@pytest.mark.parametrize(
    "change", [{"preset": "deeplab"}, {"shrink": 4}, {"background": 0.99}], ids=str
)
def test_every_choice_is_alive(maps, images, tmp_path, change):
    run(maps, images, tmp_path / "plain")
    run(maps, images, tmp_path / "other", **change)
    plain, other = (LabelFolder(tmp_path / out)["a"] for out in ("plain", "other"))
    assert not torch.equal(plain, other)


@pytest.mark.parametrize("shrink", [2, 4])
def test_shrinking_label_maps_keeps_size_and_classes(labels, images, tmp_path, shrink):
    run(labels, images, tmp_path / "out", shrink=shrink)
    found = LabelFolder(tmp_path / "out")["a"]
    assert found.shape == (SIZE, SIZE)
    assert found.unique().tolist() == [0, 7]
    # four columns are two, or one, of the smaller map
    assert errors(found, halves()) <= 128 - 64 * (shrink == 2)


def test_ignored_pixels_take_a_label_and_nothing_stays_nothing(images, tmp_path):
    some = halves()
    some[10:14] = 255
    write_labels(tmp_path / "labels", "a", some)
    write_labels(tmp_path / "labels", "sub/b", torch.full_like(some, 255))
    run(tmp_path / "labels", images, tmp_path / "out")
    found = LabelFolder(tmp_path / "out")
    assert errors(found["a"], halves()) < 8
    assert found["sub/b"].eq(255).all()


def test_finished_maps_are_left_alone_and_stale_ones_made_again(
    labels, images, tmp_path
):
    out = tmp_path / "out"
    run(labels, images, out)
    mark = torch.full((1, 1), 9, dtype=torch.uint8)
    write_labels(out, "a", mark)
    write_labels(out, "sub/b", mark)
    future = (out / "a.png").stat().st_mtime + 10
    os.utime(labels / "a.png", (future, future))
    run(labels, images, out)
    assert LabelFolder(out)["a"].shape == (SIZE, SIZE)
    assert torch.equal(LabelFolder(out)["sub/b"], mark)
    record = read_json(out / crf.RECORD)
    assert (record["preset"], record["shrink"]) == ("seeds", 1)


def test_maps_that_were_made_otherwise_are_not_mixed(labels, images, tmp_path):
    run(labels, images, tmp_path / "out")
    with pytest.raises(DatasetError, match="out holds label maps that were made other"):
        run(labels, images, tmp_path / "out", preset="irnet")
    with pytest.raises(DatasetError, match="choose another folder"):
        run(labels, images, labels)
    assert errors(LabelFolder(labels)["a"], halves()) == 128


def test_errors_name_the_file(maps, labels, images, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty holds no activation maps \(npz\)"):
        run(tmp_path / "empty", images, tmp_path / "out")
    write_labels(labels, "c", halves())
    with pytest.raises(DatasetError, match=r"labels/c.png: there is no image c in "):
        run(labels, images, tmp_path / "out")
    (labels / "c.png").unlink()
    write_labels(labels, "a", halves()[:20])
    with pytest.raises(DatasetError, match=r"a.png has 32x20 pixels, .* has 32x32;"):
        run(labels, images, tmp_path / "out")
    write_cams(maps, "a", Cams(torch.zeros(1, 4, 8), (7,)))
    with pytest.raises(DatasetError, match=r"a.npz holds maps of 8x4 .* have 8x8;"):
        run(maps, images, tmp_path / "other")
    (maps / "a.npz").write_bytes(b"no maps")
    with pytest.raises(ArtifactError, match=r"a.npz cannot be read as activation"):
        run(maps, images, tmp_path / "other")
    write_labels(maps, "sub/b", halves())
    with pytest.raises(DatasetError, match=r"would share the label map sub/b.png"):
        run(maps, images, tmp_path / "other")
    Image.new("RGB", (SIZE, SIZE)).save(images / "a.jpg")
    with pytest.raises(DatasetError, match=r"labels/a.png has several images"):
        run(labels, images, tmp_path / "other")


def test_command(call_cli, labels, images, tmp_path):
    code, lines, _ = call_cli(
        "crf", labels, images, "--out", tmp_path / "out",
        "--preset", "irnet", "--shrink", "2", "--device", "cpu", "--workers", "1",
    )  # fmt: skip
    assert code == 0
    assert lines == [f"2 label maps in {tmp_path / 'out'} (CRF irnet)"]
    code, _, error = call_cli("crf", tmp_path / "none", images, "--out", tmp_path / "o")
    assert code == 1
    assert "none holds no activation maps" in error
