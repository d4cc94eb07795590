"""What the method must show on the toy world, over three random seeds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import Index
from tag2mask.config import Evaluate, Predict, load_recipe
from tag2mask.config.study_load import load_study
from tag2mask.data.masks import MaskFolder
from tag2mask.data.toy import write_toy_world
from tag2mask.engine.runtime import Runtime, reuse_memory
from tag2mask.functional.voting import vote
from tag2mask.models.segmenters import load_segmenter
from tag2mask.pipeline import run
from tag2mask.pipeline.study import run_study
from tag2mask.stages import evaluate, predict, segment

pytestmark = pytest.mark.slow
RANDOM_SEEDS = (0, 1, 2)
NUM_VOTERS, MAJORITY, BLOCK = 5, 3, 16


@pytest.fixture(scope="module")
def runtime():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    reuse_memory()
    yield Runtime(workers=2)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "world"
    write_toy_world(root, num_train=400, num_val=120, random_seed=0)
    return root


@pytest.fixture(scope="module", params=RANDOM_SEEDS)
def summary(request, world, runtime):
    recipe = load_recipe("toy", [f"data.root={world}", f"random_seed={request.param}"])
    return read_json(run(recipe, world.parent / "work", runtime=runtime))


def miou(summary: dict, stage: str) -> list[float]:
    return [
        score["miou"]
        for score in summary["scores"]
        if score["stage"] == stage and "miou" in score
    ]


def test_vote_beats_the_mean_of_its_voters(summary):
    (voted,) = miou(summary, "vote")
    assert voted > np.mean(miou(summary, "seed"))


def test_segmenter_keeps_what_the_vote_knew_on_unseen_scenes(summary):
    (voted,) = miou(summary, "vote")
    assert miou(summary, "predict")[-1] >= voted - 1.0


def test_activation_maps_are_instructive_but_not_won(summary):
    assert all(30 <= score <= 60 for score in miou(summary, "cam")[2::3])  # oracles


def test_union_of_both_methods_beats_either(world, runtime):
    prompts = f"voters.ca_cl.prompts.classes={world / 'prompts.toml'}"
    table, _ = run_study(
        load_study(Path("union")),
        world.parent / "work",
        overrides=(f"data.root={world}", prompts),
        runtime=runtime,
    )
    classifiers, ca_cl, both = (line.mean for line in table.lines)
    assert both > max(classifiers, ca_cl)


def corrupted(truth: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Give a share of the blocks of 16 pixels any class."""
    labels = np.where(truth == 255, 0, truth)
    blocks = [-(-side // BLOCK) for side in labels.shape]
    is_hit = np.kron(rng.random(blocks) < share, np.ones((BLOCK, BLOCK), bool))
    other = np.kron(rng.integers(0, 7, blocks), np.ones((BLOCK, BLOCK), np.int64))
    rows, columns = labels.shape
    is_hit, other = is_hit[:rows, :columns], other[:rows, :columns]
    return np.where(is_hit, other, labels).astype(np.uint8)


def write_corrupted_vote(folder: Path, index: Index, masks: MaskFolder) -> float:
    """Write the vote of voters of which each is corrupted; return the wrong share.

    Beside it, in ``clean``, without the labels of pixels that too few agree on.
    """
    rng = np.random.default_rng(0)
    wrong = total = 0
    for image in index.split("train"):
        size = (image.width, image.height)
        truth = masks.read(image.name, num_classes=index.num_classes, size=size)
        ballots = np.stack([corrupted(truth, rng, 0.775) for _ in range(NUM_VOTERS)])
        result = vote(torch.from_numpy(ballots))
        is_noisy = result.support < MAJORITY
        for part, labels in (
            ("all", result.labels),
            ("clean", result.labels.masked_fill(is_noisy, 255)),
        ):
            write_support(folder / part / "support", image.name, result.support)
            write_labels(folder / part / "labels", image.name, labels)
        wrong += np.count_nonzero((truth != 255) & (truth != result.labels.numpy()))
        total += np.count_nonzero(truth != 255)
    return wrong / total


VARIANTS = {
    "absent": ("all", {"complement": "absent"}),
    "random": ("all", {"complement": "random"}),
    "clean only": ("clean", {"loss": "cross_entropy"}),
    "cross-entropy": ("all", {"loss": "cross_entropy"}),
}


def test_noisy_pixels_teach_what_they_are_not(world, runtime, tmp_path):
    recipe = load_recipe("toy", [f"data.root={world}"])
    work = world.parent / "work"
    record = read_json(run(recipe, work, runtime=runtime, until="index"))
    work = world.parent / "work" / "runs" / "x"
    index = Index((work / record["artifacts"]["index"]).resolve(), world)
    masks = MaskFolder(world / "masks")
    share = write_corrupted_vote(tmp_path / "vote", index, masks)
    assert 0.37 < share < 0.43
    truth = evaluate.Truth(index.split("val"), masks, index.class_names)
    found = {name: [] for name in VARIANTS}
    for random_seed in RANDOM_SEEDS:
        for name, (part, knobs) in VARIANTS.items():
            folder = tmp_path / f"{name}-{random_seed}"
            settings = recipe.segment.model_copy(
                update={"min_support": MAJORITY, "steps": 300} | knobs
            )
            segment.run(
                index,
                segment.Lesson(tmp_path / "vote" / part),
                settings,
                folder,
                random_seed=random_seed,
                runtime=runtime,
            )
            images = [predict.Subject(i.name, index.path(i)) for i in truth.images]
            network = load_segmenter(folder).network
            labels = folder / "labels"
            predict.run(network, images, Predict(), labels, runtime=runtime)
            record = evaluate.score_labels(
                LabelFolder(labels), truth, Evaluate(), runtime=runtime
            )
            found[name].append(record["miou"])
    print(f"wrong labels {share:.2f}", found)  # noqa: T201
    means = {name: np.mean(scores) for name, scores in found.items()}
    assert means["absent"] >= means["random"] >= means["clean only"]
    assert means["absent"] > means["cross-entropy"]
