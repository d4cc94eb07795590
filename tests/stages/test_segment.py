from io import StringIO

import pytest
import torch
from rich.console import Console
from torch import nn

from tag2mask import config
from tag2mask.artifacts.tables import Index
from tag2mask.engine.progress import Progress
from tag2mask.engine.runtime import Runtime
from tag2mask.engine.training_log import TrainingLog
from tag2mask.functional.shapes import IGNORE
from tag2mask.models.segmenters import load_segmenter
from tag2mask.models.weights import read_weights
from tag2mask.stages import segment, segment_losses, segment_network

NUM_CLASSES = 4


class Fixed(nn.Module):
    """A network of nothing but its logits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.logits = nn.Parameter(torch.randn(2, NUM_CLASSES, 8, 8))

    def forward(self, images):
        return self.logits[: len(images)]


@pytest.fixture
def batch():
    torch.manual_seed(1)
    labels = torch.randint(0, NUM_CLASSES, (2, 8, 8)).to(torch.uint8)
    labels[:, 0] = IGNORE
    support = torch.randint(1, 6, (2, 8, 8)).to(torch.uint8)
    tags = torch.tensor([[True, False, False], [True, True, False]])
    return {
        "image": torch.zeros(2, 3, 8, 8),
        "labels": labels,
        "support": support * (labels != IGNORE),
        "tags": tags,
    }


NO_ADJUSTMENT = torch.zeros(NUM_CLASSES)


def losses(batch, *, step=5, random_seed=0, adjustment=NO_ADJUSTMENT, **knobs):
    base = {"min_support": 3, "tau": 0.5, "steps": 10, "cross_entropy_share": 0.0}
    settings = config.Segment(**base | knobs)
    network = Fixed()
    found = segment_losses.make_losses(
        settings, adjustment=adjustment, random_seed=random_seed
    )(network, batch, step)
    sum(found.terms.values()).backward()
    return found, network.logits.grad


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "cross_entropy"},
        {"min_support": 5},
        {"tau": 0.1},
        {"complement": "random"},
        {"complement": "assigned"},
        {"complement": "both"},
        {"num_complements": 3},
        {"weight_from": "plain"},
        {"weight_from": "eq4"},
        {"cross_entropy_share": 0.6},
        {"loss_stride": 2},
        {"loss_scales": (1.0, 0.5)},
        {"random_seed": 1},
        {"step": 6},
        {"adjustment": torch.tensor([0.0, -1.0, -1.0, -1.0])},
    ],
    ids=str,
)
def test_every_knob_changes_the_gradient(batch, change):
    _, gradient = losses(batch)
    _, other = losses(batch, **change)
    assert not torch.allclose(gradient, other)


def test_equal_steps_are_equal(batch):
    for one, other in zip(losses(batch)[0], losses(batch)[0], strict=True):
        assert {name: value.item() for name, value in one.items()} == {
            name: value.item() for name, value in other.items()
        }


def test_terms_and_what_is_watched_have_names(batch):
    found, _ = losses(batch)
    assert set(found.terms) == {"positive", "negative"}
    assert set(found.watched) == {
        "background_predicted",
        "background_labelled",
        "unweighted_positive",
        "clean_share",
    }


def test_first_steps_learn_by_cross_entropy(batch):
    # six of ten steps
    before, _ = losses(batch, step=5, cross_entropy_share=0.6)
    after, _ = losses(batch, step=6, cross_entropy_share=0.6)
    assert set(before.terms) == {"cross_entropy"}
    assert set(after.terms) == {"positive", "negative"}


def test_cross_entropy_is_torchs(batch):
    found, _ = losses(batch, loss="cross_entropy")
    expected = nn.functional.cross_entropy(
        Fixed().logits, batch["labels"].long(), ignore_index=IGNORE
    )
    torch.testing.assert_close(found.terms["cross_entropy"], expected)


def test_stride_reads_the_middle_of_what_a_logit_covers(batch):
    # resized to 4x4, a logit lies at 0.5 + 2i in pixels: the nearest are 1, 3, 5, 7
    found, _ = losses(batch, loss="cross_entropy", loss_stride=2)
    logits = nn.functional.interpolate(Fixed().logits, (4, 4), mode="bilinear")
    labels = batch["labels"][:, 1::2, 1::2].long()
    expected = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE)
    torch.testing.assert_close(found.terms["cross_entropy"], expected)


def test_adjustment_is_added_to_the_logits(batch):
    adjustment = torch.tensor([-0.1, -0.5, -1.0, -2.0])
    found, _ = losses(batch, loss="cross_entropy", adjustment=adjustment)
    expected = nn.functional.cross_entropy(
        Fixed().logits + adjustment.view(1, -1, 1, 1),
        batch["labels"].long(),
        ignore_index=IGNORE,
    )
    torch.testing.assert_close(found.terms["cross_entropy"], expected)


class Squared(nn.Module):
    """A network whose logits are the colours of the image, squared."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(NUM_CLASSES))

    def forward(self, images):
        squares = torch.cat([images, images[:, :1]], dim=1) ** 2
        return squares * self.weight.view(1, -1, 1, 1)


def test_losses_of_several_scales_are_summed_and_that_of_the_largest_logit(batch):
    # DeepLab v2: at 1, 0.75, 0.5, and of their maximum
    torch.manual_seed(2)
    batch["image"] = torch.rand(2, 3, 8, 8)
    settings = config.Segment(
        loss="cross_entropy", loss_scales=(1.0, 0.75, 0.5), steps=10
    )
    found = segment_losses.make_losses(
        settings, adjustment=NO_ADJUSTMENT, random_seed=0
    )(Squared(), batch, 0)
    maps = []
    for side in (8, 6, 4):
        seen = nn.functional.interpolate(
            batch["image"], (side, side), mode="bilinear", antialias=True
        )
        maps.append(nn.functional.interpolate(Squared()(seen), (8, 8), mode="bilinear"))
    maps.append(torch.maximum(torch.maximum(maps[0], maps[1]), maps[2]))
    labels = batch["labels"].long()
    expected = sum(
        nn.functional.cross_entropy(each, labels, ignore_index=IGNORE) for each in maps
    )
    torch.testing.assert_close(found.terms["cross_entropy"], expected)
    predicted = maps[-1].argmax(1) == 0
    labelled = labels != IGNORE
    torch.testing.assert_close(
        found.watched["background_predicted"],
        (predicted & labelled).sum() / labelled.sum(),
    )


def test_support_decides_what_is_clean(batch):
    labelled = batch["labels"] != IGNORE
    for min_support in (1, 4, 6):
        found, _ = losses(batch, min_support=min_support)
        clean = (batch["support"] >= min_support) & labelled
        expected = clean.sum() / labelled.sum()
        torch.testing.assert_close(found.watched["clean_share"], expected)


def test_absent_complements_are_none_of_the_tags(batch):
    batch["tags"][:] = True
    found, _ = losses(batch, complement="absent", min_support=6)
    assert found.terms["negative"].item() == 0


def log(folder, predicted, labelled):
    TrainingLog(folder, done=0, tensorboard=False).write(
        4, {"background_predicted": predicted, "background_labelled": labelled}
    )


@pytest.mark.parametrize(
    ("predicted", "labelled"), [(0.95, 0.7), (0.3, 0.7), (0.0, 0.16), (1.0, 0.88)]
)
def test_collapse_is_told_by_both_shares(tmp_path, predicted, labelled):
    log(tmp_path, predicted, labelled)
    warning = segment.collapse_warning(tmp_path)
    assert f"calls {predicted:.0%}" in warning
    assert f"labels {labelled:.0%}" in warning
    assert "segment.tau" in warning


@pytest.mark.parametrize(
    ("predicted", "labelled"),
    [(0.7, 0.7), (0.8, 0.7), (0.0, 0.1), (0.95, 0.88)],
)
def test_near_shares_are_no_collapse(tmp_path, predicted, labelled):
    log(tmp_path, predicted, labelled)
    assert segment.collapse_warning(tmp_path) == ""


def test_empty_labels_are_told_rather_than_a_collapse(tmp_path):
    log(tmp_path, 1.0, 0.995)
    warning = segment.collapse_warning(tmp_path)
    assert "100% of the pixels background" in warning
    assert "segment.tau" not in warning


def test_no_log_is_no_collapse(tmp_path):
    assert segment.collapse_warning(tmp_path) == ""


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("hub", "resnet50: ImageNet (timm hub)"),
        ("none", "resnet50: random"),
        ("some/where/mine.pth", "resnet50: mine.pth"),
    ],
)
def test_initialisation_is_told_without_folders(weights, expected):
    settings = config.DeepLab(backbone="resnet50", weights=weights)
    assert segment_network.initialisation(settings) == expected


def trained(finished, recipe, folder, random_seed=0):
    """Train on the vote of the finished run; return the weights."""
    index = Index(finished.folder("index"), recipe.data.root)
    segment.run(
        index,
        segment.Lesson(finished.folder("vote")),
        recipe.segment,
        folder,
        random_seed=random_seed,
        runtime=Runtime(workers=1),
    )
    return read_weights(folder / "weights.safetensors")


def test_a_trained_segmenter_can_be_opened(finished, load, tmp_path):
    changes = "segment.rates=[2]", "segment.network=deeplab_v1", "segment.neck=16"
    trained(finished, load("segment.steps=1", *changes), tmp_path)
    found = load_segmenter(tmp_path)
    assert found.class_names[:2] == ("background", "train")
    assert found.card["init"] == "test_resnet: random"
    assert found.network(torch.rand(1, 3, 16, 24)).shape == (1, 7, 2, 3)
    assert {path.name for path in tmp_path.iterdir()} == {
        "weights.safetensors",
        "model.json",
        "log.csv",
    }


def test_checkpoint_that_a_crash_left_beside_the_weights_goes(finished, load, tmp_path):
    recipe = load("segment.steps=1")
    trained(finished, recipe, tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"left over")
    trained(finished, recipe, tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    "change",
    [
        "batch=2",
        "crop=32",
        "rescale=[1.0, 1.0]",
        "colour_jitter=0.0",
        "optimizer=sgd",
        "learning_rate=1e-3",
        "head_factor=2.0",
        "weight_decay=0.9",
        "schedule=cosine",
        "power=0.5",
        "warmup=1",
        "clip_norm=0.01",
        "freeze_batch_norm=true",
        "precision=bf16",
        "freeze=['conv1']",
        "rates=[6, 12]",
        "neck=16",
        "output_stride=16",
        "dilate=false",
        "network=deeplab_v1",
        "min_support=4",
        "dropout=0.5",
        "logit_adjustment=0.5",
        "accumulate=2",
        "bias_factor=2.0",
        "last_factor=0.5",
        "loss_scales=[1.0, 0.5]",
    ],
)
def test_every_knob_of_training_changes_the_weights(finished, load, tmp_path, change):
    base = (
        "segment.steps=2",
        "segment.learning_rate=1e-2",
        "segment.freeze_batch_norm=false",
        "segment.cross_entropy_share=0.0",
        "segment.rates=[]",  # those of the paper
    )
    one = trained(finished, load(*base), tmp_path / "one")
    other = trained(finished, load(*base, f"segment.{change}"), tmp_path / "other")
    assert set(one) != set(other) or any(
        one[name].shape != other[name].shape or not torch.equal(one[name], other[name])
        for name in one
    )


def test_random_seed_changes_the_weights(finished, load, tmp_path):
    recipe = load("segment.steps=1")
    one, other = (
        trained(finished, recipe, tmp_path / str(number), random_seed=number)
        for number in (0, 1)
    )
    assert not torch.equal(one["head.0.weight"], other["head.0.weight"])


def test_collapse_is_said_after_training(finished, load, tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "collapse_warning", lambda _: "all is lost")
    told = StringIO()
    recipe = load("segment.steps=1")
    segment.run(
        Index(finished.folder("index"), recipe.data.root),
        segment.Lesson(finished.folder("vote")),
        recipe.segment,
        tmp_path,
        random_seed=0,
        runtime=Runtime(workers=1, progress=Progress(Console(file=told))),
    )
    assert told.getvalue().endswith("warning: all is lost\n")
