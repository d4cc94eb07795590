"""SegFormer and Mask2Former through the pipeline, as small as they can be."""

import shutil

import pytest
import torch

from tag2mask import Runtime, config, plan, predict_files, run
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.tables import Index
from tag2mask.functional.set_loss import SetLoss
from tag2mask.functional.shapes import IGNORE
from tag2mask.models.segmenters import load_segmenter
from tag2mask.models.weights import read_weights
from tag2mask.stages import segment, segment_losses, segment_network

RUNTIME = Runtime(workers=1)
COMMON = """weights="none", steps=2, batch=2, crop=48, warmup=0, min_support=3,
cross_entropy_share=0.0, loss_stride=2, clip_norm=1.0"""
TABLES = {
    "segformer": f"""segment={{network="segformer", variant="b0", {COMMON}, options={{
        depths=[1,1,1,1], hidden_sizes=[8,16,16,16], num_attention_heads=[1,1,1,1],
        decoder_hidden_size=16 }} }}""",
    "mask2former": f"""segment={{network="mask2former", variant="swin-tiny", {COMMON},
        num_points=200, backbone_options={{
        embed_dim=8, depths=[1,1,1,1], num_heads=[1,1,2,2] }}, options={{
        feature_size=64, mask_feature_size=32, hidden_dim=32, num_queries=8,
        encoder_layers=1, decoder_layers=2, encoder_feedforward_dim=32,
        dim_feedforward=32, num_attention_heads=2 }} }}""",
}
TABLES = {name: " ".join(table.split()) for name, table in TABLES.items()}
networks = pytest.mark.parametrize("network", TABLES)


@networks
def test_segmenter_trains_saves_loads_and_predicts(
    load, finished, world, tmp_path, network
):
    work = tmp_path / "work"
    shutil.copytree(finished.work, work)
    recipe = load(TABLES[network], "report.panels=0")
    assert any(step.subject == network for step in plan(recipe, work))
    record = read_json(summary := run(recipe, work, runtime=RUNTIME))
    scores = {s["subject"]: s for s in record["scores"] if s["stage"] == "predict"}
    assert set(scores) == {"plain", "final"}
    assert scores["plain"]["protocol"]["init"].startswith(f"{network} ")
    assert scores["plain"]["protocol"]["init"].endswith(": random")
    folder = (summary.parent / record["artifacts"]["segment"]).resolve()
    assert load_segmenter(folder).class_names[:2] == ("background", "train")
    out = tmp_path / "masks"
    predict_files(folder, [world / "images"], out, runtime=RUNTIME)
    plain = (summary.parent / record["artifacts"]["predict"]["plain"]).resolve()
    for label_map in (plain / "labels").glob("*.png"):
        assert (out / label_map.name).read_bytes() == label_map.read_bytes()
    again = read_json(run(recipe, work, runtime=RUNTIME))
    assert all(stage["reused"] for stage in again["stages"])


def trained(finished, recipe, folder):
    """Train on the vote of the finished run; return the weights."""
    segment.run(
        Index(finished.folder("index"), recipe.data.root),
        segment.Lesson(finished.folder("vote")),
        recipe.segment,
        folder,
        random_seed=0,
        runtime=RUNTIME,
    )
    return read_weights(folder / "weights.safetensors")


KNOBS = {
    "segformer": [
        "variant=b1",
        "freeze=['stages.0']",
        "options.drop_path_rate=0.9",
        "weight_decay=0.9",
        "warmup=1",
        "power=3.0",
        "accumulate=2",
        "precision=bf16",
    ],
    "mask2former": [
        "variant=swin-base",
        "freeze=['swin.embeddings']",
        "num_points=50",
        "set_weight=0.0",
        "clip_norm=0.01",
        "min_support=4",
        "precision=bf16",
    ],
}


@networks
def test_every_knob_changes_the_weights(finished, load, tmp_path, network):
    small = [TABLES[network], "segment.crop=32", "segment.learning_rate=1e-2"]
    if network == "mask2former":  # else its encoder hides the window of a variant
        small.append("segment.backbone_options.window_size=3")
    one = trained(finished, load(*small), tmp_path / "one")
    for number, knob in enumerate(KNOBS[network]):
        recipe = load(*small, f"segment.{knob}")
        if knob.startswith("variant"):
            card = segment_network.model_card(recipe.segment, ("a",))
            assert card["variant"] in knob
            continue
        other = trained(finished, recipe, tmp_path / str(number))
        assert any(
            one[name].shape != other[name].shape
            or not torch.equal(one[name], other[name])
            for name in one
        ), knob


def batch():
    labels = torch.zeros(2, 32, 32, dtype=torch.uint8)
    labels[:, 8:20, 8:20] = 2
    labels[:, :, :4] = IGNORE
    support = torch.where(torch.arange(32) < 16, 1, 3).expand(2, 32, 32).byte()
    tags = torch.tensor([[False, True], [False, True]])
    return {
        "image": torch.rand(2, 3, 32, 32),
        "labels": labels,
        "support": support * (labels != IGNORE),
        "tags": tags,
    }


def mask2former(load, *changes):
    settings = load(TABLES["mask2former"], *changes).segment
    return settings, segment_network.build_network(settings, num_classes=3).eval()


def losses(settings, network, given, step=1):
    return segment_losses.make_losses(
        settings, adjustment=torch.zeros(3), random_seed=0
    )(network, given, step)


def test_set_loss_stands_beside_the_loss_of_pixels(load):
    settings, network = mask2former(load)
    given = batch()
    found = losses(settings, network, given)
    assert set(found.terms) == {
        "set_classes", "set_masks", "set_dice", "positive", "negative",
    }  # fmt: skip
    assert {"background_predicted", "clean_share"} <= set(found.watched)
    double = losses(settings.model_copy(update={"set_weight": 2.0}), network, given)
    torch.testing.assert_close(
        double.terms["set_dice"], 2 * found.terms["set_dice"], rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    ("loss", "share"), [("positive_negative", 16 / 28), ("cross_entropy", 1.0)]
)
def test_set_loss_learns_what_the_loss_of_pixels_believes(
    load, monkeypatch, loss, share
):
    # columns 16 to 31 of the labelled 4 to 31 have three votes
    seen = []

    def watch(classes, _, targets):
        seen.extend(targets)
        return SetLoss(*[classes.sum() * 0] * 3)

    monkeypatch.setattr(segment_losses, "set_loss", watch)
    settings, network = mask2former(load, f"segment.loss={loss}")
    losses(settings, network, batch())
    columns = ((seen[0].grid[:, 0] + 1) * 16 - 0.5).round()
    assert columns.min() >= (16 if share < 1 else 4)
    assert len(columns.unique()) == round(28 * share)


def test_steps_draw_points_of_their_own_and_equal_steps_equal_ones(load):
    settings, network = mask2former(load)
    given = batch()
    values = [losses(settings, network, given, step).terms for step in (1, 1, 2)]
    dice = [each["set_masks"].item() for each in values]
    assert dice[0] == dice[1] != dice[2]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"variant": "b3"}, "segformer b3: ImageNet (nvidia/mit-b3)"),
        ({"weights": "none"}, "segformer b2: random"),
        ({"weights": "owner/name"}, "segformer b2: owner/name"),
    ],
)
def test_initialisation_of_a_segformer(table, expected):
    settings = config.Segformer(network="segformer", **table)
    assert segment_network.initialisation(settings) == expected


def test_initialisation_names_no_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    settings = config.Mask2Former(network="mask2former", weights=str(tmp_path / "mine"))
    assert segment_network.initialisation(settings) == "mask2former swin-large: mine"
    hub = segment_network.initialisation(config.Mask2Former(network="mask2former"))
    assert hub.startswith("mask2former swin-large: ImageNet-22k (microsoft/swin-large")


def test_a_local_folder_of_weights_counts_by_its_content(load, tmp_path):
    keys = []
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
        recipe = load(TABLES["segformer"], f"segment.weights={tmp_path / name}")
        steps = plan(recipe, tmp_path / "work")
        (step,) = (step for step in steps if step.stage == "segment")
        keys.append(step.artifact.key)
    assert keys[0] == keys[1] != keys[2]
