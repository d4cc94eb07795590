import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from tag2mask import config
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.tables import Index
from tag2mask.engine.runtime import Runtime
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.weights import read_weights
from tag2mask.stages import localize, localize_text, prompts, text_losses
from tag2mask.stages.prompts import TextVectors

NUM_TAGS = 3


class CrashError(Exception):
    """Stands for a crash."""


class Colours(nn.Module):
    """Sees the mean colour of a picture, and half of the square of it."""

    image_size, mean, std, identity = 8, (0.5,) * 3, (0.25,) * 3, "colours"

    def __init__(self):
        super().__init__()
        self.calls = []

    def encode_images(self, images):
        self.calls.append(len(images))
        seen = torch.cat([images, images.square() / 2], 1).mean((2, 3))
        return functional.normalize(seen + 1e-3, dim=1)

    def encode_texts(self, texts):
        torch.manual_seed(len(texts))
        return functional.normalize(torch.randn(len(texts), 6), dim=1)


class Fixed(nn.Module):
    """A network of nothing but its maps, with gate and counts."""

    def __init__(self, voter):
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.Parameter(torch.randn(2, NUM_TAGS, 4, 4))
        backbone = make_backbone("test_resnet", weights="none", output_stride=8)
        cam = CamNetwork(backbone, num_tags=NUM_TAGS, dropout=0.0)
        whole = localize_text.with_gate(cam, voter, num_contexts=2)
        self.gate, self.count_contexts = whole.gate, whole.count_contexts
        self.chosen = whole.chosen

    def forward(self, images):
        return self.maps[: len(images)].sigmoid()


@pytest.fixture
def vectors():
    torch.manual_seed(2)
    contexts = functional.normalize(torch.rand(NUM_TAGS, 2, 6), dim=2)
    backgrounds = functional.normalize(torch.rand(NUM_TAGS, 4, 6), dim=2)
    return TextVectors(contexts, backgrounds, torch.tensor([True] * 3), ("a {}", "{}"))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    tags = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    bright = 0.5 + torch.rand(2, 3, 16, 16) / 2  # no cosine is below 0
    return {"image": bright, "tags": tags}


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("test_resnet", weights="none", output_stride=8)


def voter_of(method="ca_cl", **knobs):
    kind = config.CaCl if method == "ca_cl" else config.Clims
    gate = {"gate": config.Gate(mode="quantile", quantile=0.5)}
    return kind(method=method, **gate | knobs)


def learn(batch, vectors, backbone, voter, teacher=None):
    network = Fixed(voter)
    losses_of = text_losses.make_losses(voter, teacher or Colours(), vectors, backbone)
    found = losses_of(network, batch, 0)
    sum(found.terms.values()).backward()
    return found, network


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("ca_cl", {"loss_weights": config.CaClWeights(contrast=1.0)}),
        ("ca_cl", {"loss_weights": config.CaClWeights(background=9.0)}),
        ("ca_cl", {"loss_weights": config.CaClWeights(size=9.0)}),
        ("ca_cl", {"margin": 0.01}),
        ("ca_cl", {"reduction": "sum"}),
        ("ca_cl", {"normalise": "imagenet"}),
        ("ca_cl", {"gate": config.Gate(mode="fixed", theta=-1.0)}),
        ("clims", {"loss_weights": config.ClimsWeights(foreground=1.0)}),
        ("clims", {"loss_weights": config.ClimsWeights(background=1.0)}),
        ("clims", {"loss_weights": config.ClimsWeights(suppression=9.0)}),
        ("clims", {"loss_weights": config.ClimsWeights(size=9.0)}),
    ],
    ids=str,
)
def test_every_knob_changes_the_loss(batch, vectors, backbone, method, change):
    one, _ = learn(batch, vectors, backbone, voter_of(method))
    other, _ = learn(batch, vectors, backbone, voter_of(method, **change))
    assert sum(one.terms.values()).item() != sum(other.terms.values()).item()


@pytest.mark.parametrize("method", ["ca_cl", "clims"])
def test_pairs_in_turn_are_pairs_together(batch, vectors, backbone, method):
    teacher = Colours()
    _, one = learn(batch, vectors, backbone, voter_of(method))
    _, other = learn(
        batch, vectors, backbone, voter_of(method, pairs_at_once=1), teacher
    )
    assert max(teacher.calls) == 2
    torch.testing.assert_close(one.maps.grad, other.maps.grad)


def test_all_pairs_are_encoded_in_one_batch(batch, vectors, backbone):
    teacher = Colours()
    learn(batch, vectors, backbone, voter_of(), teacher)
    assert teacher.calls == [6]  # foreground and background of three pairs


@pytest.mark.parametrize("method", ["ca_cl", "clims"])
def test_without_a_pair_only_the_size_prior_pulls(batch, vectors, backbone, method):
    batch["tags"][:] = 0
    voter = voter_of(method)
    found, network = learn(batch, vectors, backbone, voter)
    alone = voter.loss_weights.size * Fixed(voter)(batch["image"]).mean()
    assert sum(found.terms.values()).item() == pytest.approx(alone.item())
    assert (network.maps.grad > 0).all()


def test_the_closest_context_is_counted(batch, vectors, backbone):
    _, network = learn(batch, vectors, backbone, voter_of())
    assert network.chosen.sum(dim=1).tolist() == [1, 1, 1]


def test_classes_without_words_are_not_suppressed(batch, vectors, backbone):
    silent = vectors._replace(has_words=torch.zeros(NUM_TAGS, dtype=torch.bool))
    voter = voter_of(gate=config.Gate(mode="fixed", theta=-1.0))
    found, _ = learn(batch, silent, backbone, voter)
    assert found.terms["background"].item() == 0
    assert learn(batch, vectors, backbone, voter)[0].terms["background"].item() > 0


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        (config.ClipModel(), "adaptive"),
        (config.OpenClipModel(), "adaptive"),
        (config.OpenClipModel(model="RN50"), "quantile"),
        (config.ClipModel(model="some/other"), "quantile"),
        (config.TinyModel(), "quantile"),
    ],
)
def test_auto_gate_is_adaptive_for_the_papers_model(model, mode):
    network = Fixed(voter_of(gate=config.Gate(), image_text=model))
    assert network.gate.mode == mode


def test_warm_start_is_a_classifier_of_the_same_network():
    voter = voter_of(
        backbone="test_resnet",
        weights="none",
        classifier=config.TagTraining(steps=7, dropout=0.2),
    )
    start = localize_text.warm_classifier(voter)
    assert (start.backbone, start.weights, start.steps) == ("test_resnet", "none", 7)
    assert start.dropout == (0.2,)
    assert start.output_stride == voter.output_stride
    assert localize_text.warm_classifier(voter_of(warm_start=False)) is None


@pytest.fixture
def taught(finished, load, tmp_path, monkeypatch):
    """Train a voter on the finished run's index with a teacher of colours."""
    monkeypatch.setattr(localize_text, "open_image_text", lambda _, **__: Colours())
    index = Index(finished.folder("index"), load().data.root)
    torch.manual_seed(3)
    six = TextVectors(
        functional.normalize(torch.randn(6, 2, 6), dim=2),
        functional.normalize(torch.randn(6, 4, 6), dim=2),
        torch.ones(6, dtype=torch.bool),
        ("a {}", "{}"),
    )
    voter = voter_of(
        backbone="test_resnet",
        weights="none",
        output_stride=8,
        freeze=(),
        steps=2,
        batch=4,
        crop=48,
    )

    def teach(folder=tmp_path, warm=None, **change):
        changed = voter.model_copy(update=change)
        localize_text.run(
            index,
            changed,
            localize_text.Teaching(six, warm),
            folder,
            random_seed=0,
            runtime=Runtime(workers=1),
        )
        return changed

    return teach


def test_what_is_trained_gives_activation_maps(taught, tmp_path):
    voter = taught()
    network = localize.load(tmp_path, voter, num_classes=7)
    assert isinstance(network, CamNetwork)
    assert network.logit_maps(torch.rand(1, 3, 16, 24)).shape == (1, 6, 2, 3)
    log = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert {"contrast", "background", "size", "active", "theta", "passing"} <= set(
        log.split(",")
    )


@pytest.mark.parametrize("step", [1, 3])
def test_interrupted_and_resumed_is_unbroken(taught, tmp_path, monkeypatch, step):
    """Weights, thresholds of the gate and counts of contexts."""
    taught(tmp_path / "unbroken", steps=4)
    make_losses = localize_text.make_losses

    def make_broken(*parts):
        losses = make_losses(*parts)

        def stop(network, batch, number):
            if number == step:
                raise CrashError
            return losses(network, batch, number)

        return stop

    with monkeypatch.context() as patch:
        patch.setattr(localize_text, "make_losses", make_broken)
        with pytest.raises(CrashError):
            taught(tmp_path / "broken", steps=4)
    taught(tmp_path / "broken", steps=4)
    one, other = (
        read_weights(tmp_path / name / "weights.safetensors")
        for name in ("unbroken", "broken")
    )
    assert set(one) == set(other) > {"gate.theta", "chosen"}
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (tmp_path / "broken" / "choices.json").read_bytes() == (
        tmp_path / "unbroken" / "choices.json"
    ).read_bytes()


def test_choices_tell_thresholds_and_contexts(taught, tmp_path):
    taught()
    choices = read_json(tmp_path / "choices.json")
    assert list(choices)[:2] == ["train", "boat"]
    assert sum(sum(each["contexts"].values()) for each in choices.values()) > 0
    assert all(math.isfinite(each["theta"]) for each in choices.values())


def test_warm_start_is_where_training_begins(taught, finished, tmp_path):
    warm = finished.folder("voters", "a-0.1-1", "localize")
    taught(tmp_path / "warm", warm, learning_rate=1e-12)
    found = read_weights(tmp_path / "warm" / "weights.safetensors")
    expected = read_weights(warm / "weights.safetensors")
    torch.testing.assert_close(found["head.weight"], expected["head.weight"])


def test_idle_gates_are_named():
    network = Fixed(voter_of())
    network.gate.num_batches.fill_(50)
    network.gate.passing.copy_(torch.tensor([0.0, 0.3, 1.0]))
    closed, opened = localize_text.gate_warnings(network.gate, ("cat", "dog", "bus"))
    assert "no background prompt passes the gate of cat" in closed
    assert "every background prompt passes the gate of bus" in opened
    assert "quantile" in closed


def test_prompts_are_encoded_once_each(tmp_path, monkeypatch):
    asked = []

    class Recording(Colours):
        def encode_texts(self, texts):
            asked.extend(texts)
            return super().encode_texts(texts)

    monkeypatch.setattr(prompts, "open_image_text", lambda _, **__: Recording())
    table = config.Prompts(templates=("a photo of {}.", "an image of {}."), words=3)
    names = ("background", "boat", "train", "my_thing")
    prompts.run(names, table, config.TinyModel(), tmp_path, runtime=Runtime(workers=1))
    assert len(asked) == len(set(asked))
    vectors = prompts.read_vectors(tmp_path)
    assert vectors.contexts.shape == (3, 2, 6)
    assert vectors.backgrounds.shape == (3, 6, 6)
    assert vectors.has_words.tolist() == [True, True, False]
    assert not vectors.backgrounds[2].any()
    texts = read_json(tmp_path / "prompts.json")
    assert texts["classes"]["my_thing"]["contexts"][0] == "a photo of my thing."
