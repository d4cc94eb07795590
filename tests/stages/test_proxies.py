import pytest
import torch
from PIL import Image

from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.engine.runtime import Runtime
from tag2mask.stages import proxies

IMAGES = (
    ImageRecord("a", "a.png", 4, 1, (1,), "train"),
    ImageRecord("b", "b.png", 4, 1, (1, 2), "train"),
)


def write(folder, name, row, how=write_labels):
    how(folder, name, torch.tensor([row], dtype=torch.uint8))


@pytest.mark.parametrize("workers", [1, 2])
def test_agreement_and_coverage_of_a_vote(tmp_path, workers):
    write(tmp_path / "one", "a", [0, 0, 1, 1])
    write(tmp_path / "two", "a", [0, 1, 1, 1])
    write(tmp_path / "vote" / "labels", "a", [0, 0, 1, 1])
    write(tmp_path / "vote" / "support", "a", [2, 1, 2, 2], write_support)
    write(tmp_path / "one", "b", [1, 1, 2, 2])
    write(tmp_path / "two", "b", [0, 2, 2, 2])
    write(tmp_path / "vote" / "labels", "b", [0, 1, 2, 2])
    write(tmp_path / "vote" / "support", "b", [1, 1, 2, 2], write_support)
    proxies.of_vote(
        {name: LabelFolder(tmp_path / name) for name in ("one", "two")},
        tmp_path / "vote",
        IMAGES,
        tmp_path,
        num_classes=3,
        runtime=Runtime(workers=workers),
    )
    assert read_json(tmp_path / proxies.PROXIES) == {
        # the vote has 3, 3 and 2 pixels of each class; voter one: 2 of 3, 3 of 4 and
        # 2 of 2, mean 0.80556; voter two: 2 of 3, 2 of 4 and 2 of 3, mean 0.61111
        "agreement": {"one": 80.5556, "two": 61.1111},
        # all 8 pixels have a vote, 5 of them two
        "coverage": {"1": 100.0, "2": 62.5},
        "least_agreement": [
            {"image": "b", "unanimous": 50.0},
            {"image": "a", "unanimous": 75.0},
        ],
        "samples": [
            {
                "class_id": 1,
                "worst": [{"image": "b", "unanimous": 50.0}],
                "best": [{"image": "a", "unanimous": 75.0}],
            },
            {
                "class_id": 2,
                "worst": [{"image": "b", "unanimous": 50.0}],
                "best": [],
            },
        ],
    }


def recall(tmp_path, rows, images=IMAGES):
    for name, row in rows.items():
        write(tmp_path / "labels", name, row)
    labels = LabelFolder(tmp_path / "labels")
    proxies.of_prediction(labels, images, tmp_path, runtime=Runtime(workers=1))
    return read_json(tmp_path / proxies.PROXIES)


def test_tags_of_a_prediction(tmp_path):
    # of 3 tags 2 are found; of 4 classes found 2 are tags
    found = recall(tmp_path, {"a": [0, 1, 2, 255], "b": [0, 0, 1, 3]})
    assert found == {
        "tag_recall": 66.6667,
        "tag_precision": 50.0,
        "by_class": {
            "1": {"tag_recall": 100.0, "tag_precision": 100.0},
            # a tag of b, found in a
            "2": {"tag_recall": 0.0, "tag_precision": 0.0},
            "3": {"tag_recall": None, "tag_precision": 0.0},
        },
    }


def test_class_counts_as_found_from_half_a_percent_on(tmp_path):
    image = (ImageRecord("wide", "wide.png", 400, 1, (1,), "val"),)
    for pixels, expected in ((1, 0.0), (2, 100.0)):
        row = [1] * pixels + [0] * (400 - pixels)
        assert recall(tmp_path, {"wide": row}, image)["tag_recall"] == expected


def test_nothing_found_is_no_error(tmp_path):
    found = recall(tmp_path, {"a": [0, 0, 0, 0], "b": [0, 0, 0, 0]})
    assert (found["tag_recall"], found["tag_precision"]) == (0.0, 0.0)
    assert found["by_class"]["2"] == {"tag_recall": 0.0, "tag_precision": None}


class Brightness(torch.nn.Module):
    """Believes in class 1 the brighter an image, in class 2 the darker."""

    def forward(self, images):
        bright = images.mean(dim=(1, 2, 3))
        return torch.stack([bright, -bright], dim=1)


def test_average_precision_of_the_tags_over_all_batches(tmp_path):
    tags = {"a": (1,), "b": (1, 2), "c": (2,), "d": ()}
    rows = []
    for number, (name, each) in enumerate(tags.items()):
        width = 4 + number % 2  # two sizes, hence two batches
        Image.new("RGB", (width, 4), (250 - 50 * number,) * 3).save(
            tmp_path / f"{name}.png"
        )
        rows.append(ImageRecord(name, f"{name}.png", width, 4, each, "val"))
    write_index(tmp_path / "index", rows, ["background", "cat", "dog"], [])
    index = Index(tmp_path / "index", tmp_path)
    proxies.of_classifier(
        Brightness(), index, rows, tmp_path, runtime=Runtime(workers=1)
    )
    # brightest first a, b, c, d: class 1 is perfect; darkest first class 2 hits second
    # and third: (1/2 + 2/3) / 2
    expected = 100 * (1 + (1 / 2 + 2 / 3) / 2) / 2
    found = read_json(tmp_path / proxies.PROXIES)
    # two of the four images have either tag
    assert found == {"tag_map": pytest.approx(expected, abs=1e-4), "by_chance": 50.0}


@pytest.mark.parametrize(
    ("tag_map", "by_chance", "is_told"),
    [(39.0, 33.0, True), (30.0, 33.0, True), (60.0, 33.0, False), (23.0, 5.0, True)],
)
def test_a_classifier_that_has_not_learnt_is_told(tag_map, by_chance, is_told):
    told = proxies.untaught({"tag_map": tag_map, "by_chance": by_chance})
    assert bool(told) == is_told
    if is_told:
        assert f"tag mAP {tag_map:.0f} %" in told
        assert "lower learning_rate" in told
