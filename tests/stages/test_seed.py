import pytest
import torch
from PIL import Image

from tag2mask import config
from tag2mask.artifacts.cams import Cams, write_cams
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import TrainingError
from tag2mask.functional.crf import dense_crf
from tag2mask.stages import seed


def settings(**changes):
    if "background" not in changes:
        changes = {"alpha": 2.0} | changes
    return config.Seeding(**{"crf": "none"} | changes)


def hand_made():
    """Two tags, 3 and 5, on 4x8 pixels: a map of one row for each quarter of a row."""
    maps = torch.tensor([[[0.0, 0.9]], [[0.3, 0.6]]])
    return Cams(maps, (3, 5))


def grey(height=4, width=8):
    return torch.full((height, width, 3), 128, dtype=torch.uint8)


def test_each_pixel_is_background_or_its_strongest_tag():
    found = seed.seed_labels(hand_made(), grey(), settings(background=0.4))
    # centres lie at 1.5 and 5.5, maps are straight between them; at x the weight of
    # the right one is (x - 1.5) / 4: 0, 0, 1/8, 3/8, 5/8, 7/8, 1, 1. Tag 3 has 0.9 of
    # it: 0, 0, .11, .34, .56, .79, .9, .9; tag 5 has 0.3 more than 0.3 of it: .3, .3,
    # .34, .41, .49, .56, .6, .6
    assert found.tolist() == [[0, 0, 0, 5, 3, 3, 3, 3]] * 4


def test_background_is_alive():
    found = seed.seed_labels(hand_made(), grey(), settings(background=0.7))
    # 3 exceeds 0.7 from the sixth column on
    assert found[0].tolist() == [0, 0, 0, 0, 0, 3, 3, 3]


def test_alpha_is_alive():
    # (1 - max)^alpha of column 0, whose maximum is 0.3: 0.7 at 1, 0.24 at 4
    found = [
        seed.seed_labels(hand_made(), grey(), settings(alpha=alpha))[0, 0].item()
        for alpha in (1.0, 4.0)
    ]
    assert found == [0, 5]


@pytest.mark.parametrize("crf", ["none", "seeds"])
@pytest.mark.parametrize("background", [{"alpha": 2.0}, {"background": 0.4}])
def test_image_without_tags_is_background(crf, background):
    nothing = Cams(torch.zeros(0, 1, 2), ())
    found = seed.seed_labels(nothing, grey(), settings(crf=crf, **background))
    assert found.shape == (4, 8)
    assert found.eq(0).all()


def two_halves():
    """An object whose map leaks over the edge of what is seen, at column 16."""
    image = grey(32, 32)
    image[:, :16] = torch.tensor([250, 20, 20], dtype=torch.uint8)
    maps = torch.zeros(1, 8, 8)
    maps[:, :, :5] = 0.9
    return Cams(maps, (2,)), image


def test_crf_follows_the_edge():
    cams, image = two_halves()
    plain, refined = (
        seed.seed_labels(cams, image, settings(background=0.4, crf=crf))
        for crf in ("none", "seeds")
    )
    truth = torch.zeros(32, 32, dtype=torch.uint8)
    truth[:, :16] = 2
    assert (refined != truth).sum() < (plain != truth).sum()


def test_presets_of_the_crf_differ():
    cams, image = two_halves()
    noise = torch.randint(-90, 90, image.shape)
    image = (image.int() + noise).clamp(0, 255).to(torch.uint8)
    found = [
        seed.seed_labels(cams, image, settings(background=0.4, crf=crf))
        for crf in ("none", "seeds", "irnet", "deeplab")
    ]
    assert len({tuple(each.flatten().tolist()) for each in found}) == len(found)


@pytest.mark.parametrize("shrink", [1, 2, 4])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 17), (5, 3)])
def test_shrinking_keeps_the_size(shrink, height, width):
    cams = Cams(torch.rand(1, -(-height // 4), -(-width // 4)), (2,))
    found = seed.seed_labels(
        cams, grey(height, width), settings(crf="seeds", crf_shrink=shrink)
    )
    assert found.shape == (height, width)
    assert set(found.unique().tolist()) <= {0, 2}


def test_shrinking_is_alive_and_near():
    cams, image = two_halves()
    one, small = (
        seed.seed_labels(
            cams, image, settings(background=0.4, crf="seeds", crf_shrink=shrink)
        )
        for shrink in (1, 4)
    )
    assert not torch.equal(one, small)
    # by at most one of the eight columns that are left
    assert (one != small).float().mean() <= 1 / 8


@pytest.fixture
def index(tmp_path):
    image = Image.new("RGB", (8, 4))
    for name in ("a", "b"):
        image.save(tmp_path / f"{name}.png")
    rows = [
        ImageRecord("a", "a.png", 8, 4, (3, 5), "train"),
        ImageRecord("b", "b.png", 8, 4, (), "val"),
    ]
    names = ["background", "a", "b", "c", "d", "e"]
    write_index(tmp_path / "index", rows, names, [])
    return Index(tmp_path / "index", tmp_path)


def test_train_images_get_labels(tmp_path, index):
    write_cams(tmp_path / "cams", "a", hand_made())
    seed.run(
        index,
        tmp_path / "cams",
        settings(background=0.4),
        tmp_path / "seed",
        threshold=0.5,
        runtime=Runtime(workers=1),
    )
    labels = LabelFolder(tmp_path / "seed" / "labels")
    assert list(labels) == ["a"]
    assert labels["a"][0].tolist() == [0, 0, 0, 5, 3, 3, 3, 3]


def test_crf_reaches_as_far_on_a_shrunk_image(monkeypatch):
    presets = []

    def spy(scores, image, *, preset):
        presets.append(preset)
        return dense_crf(scores, image, preset=preset)

    monkeypatch.setattr(seed, "dense_crf", spy)
    for shrink in (1, 4):
        seed.seed_labels(*two_halves(), settings(crf="seeds", crf_shrink=shrink))
    assert [each.bilateral_sxy for each in presets] == [80, 20]  # of fewer pixels
    assert [each.spatial_sxy for each in presets] == [3, 0.75]
    assert presets[0]._replace(spatial_sxy=0.75, bilateral_sxy=20) == presets[1]


def test_otsu_puts_the_cut_of_alpha_at_the_threshold(tmp_path, index):
    write_cams(tmp_path / "cams", "a", hand_made())
    found = []
    for threshold in (0.4, 0.7):  # as the constant backgrounds above
        folder = tmp_path / f"seed-{threshold}"
        seed.run(
            index,
            tmp_path / "cams",
            settings(alpha="otsu"),
            folder,
            threshold=threshold,
            runtime=Runtime(workers=1),
        )
        found.append(LabelFolder(folder / "labels")["a"][0].tolist())
    assert found == [[0, 0, 0, 5, 3, 3, 3, 3], [0, 0, 0, 0, 0, 3, 3, 3]]


def test_full_memory_says_what_needs_less_of_it(tmp_path, index, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU")

    monkeypatch.setattr(seed, "dense_crf", full)
    write_cams(tmp_path / "cams", "a", hand_made())
    with pytest.raises(TrainingError, match=r"is full .* lower --workers, shrink the"):
        seed.run(
            index,
            tmp_path / "cams",
            settings(crf="seeds"),
            tmp_path / "seed",
            threshold=0.5,
            runtime=Runtime(workers=1),
        )


def test_the_crf_runs_where_it_is_told(monkeypatch):
    seen = []

    def spy(scores, _image, *, preset):
        seen.append((scores.device.type, preset))
        return scores

    monkeypatch.setattr(seed, "dense_crf", spy)
    device = torch.device("meta")  # without values: nothing else may touch them
    found = seed.seed_labels(*two_halves(), settings(crf="seeds"), device)
    assert [each for each, _ in seen] == ["meta"]
    assert found.device.type == "meta"
