"""What the method must show on the toy world, over three random seeds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import Index
from tag2mask.config import Evaluate, Predict, load_recipe
from tag2mask.data.masks import MaskFolder
from tag2mask.data.toy import write_toy_world
from tag2mask.engine.runtime import Runtime, reuse_memory
from tag2mask.functional.voting import vote
from tag2mask.models.segmenters import load_segmenter
from tag2mask.pipeline import run
from tag2mask.stages import evaluate, predict, segment

pytestmark = pytest.mark.slow
RANDOM_SEEDS = (0, 1, 2)
NUM_VOTERS, MAJORITY = 5, 3


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


def corrupted(truth: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Lose objects to background and take background for objects, as seeds do."""
    labels = np.where(truth == 255, 0, truth)
    present = [each for each in np.unique(labels) if each]
    rows, columns = np.indices(labels.shape)
    for class_id in present:
        where = labels == class_id
        if rng.random() < share:  # most of an object is lost but its telling part
            row, column = np.argwhere(where)[rng.integers(where.sum())]
            near = (rows - row) ** 2 + (columns - column) ** 2 < 0.2 * where.sum()
            labels[where & ~near] = 0
        if rng.random() < share:  # its background is taken for it
            row, column = rng.integers(0, labels.shape[0], 2)
            blob = (rows - row) ** 2 + (columns - column) ** 2 < where.sum() / 3
            labels[blob & (labels == 0)] = class_id
    return labels.astype(np.uint8)


def write_corrupted_vote(folder: Path, index: Index, masks: MaskFolder) -> float:
    """Write the vote of voters of which each is corrupted; return the wrong share."""
    rng = np.random.default_rng(0)
    wrong = total = 0
    for image in index.split("train"):
        size = (image.width, image.height)
        truth = masks.read(image.name, num_classes=index.num_classes, size=size)
        shared = corrupted(truth, rng, 0.2)  # voters share some of their errors
        ballots = np.stack([corrupted(shared, rng, 0.45) for _ in range(NUM_VOTERS)])
        result = vote(torch.from_numpy(ballots))
        write_support(folder / "support", image.name, result.support)
        write_labels(folder / "labels", image.name, result.labels)
        found = result.labels.numpy()
        counts = ((truth > 0) | (found > 0)) & (truth != 255)
        wrong += np.count_nonzero(counts & (truth != found))
        total += np.count_nonzero(counts)
    return wrong / total


def test_positive_negative_beats_cross_entropy_on_corrupted_labels(
    world, runtime, tmp_path
):
    recipe = load_recipe("toy", [f"data.root={world}"])
    work = world.parent / "work"
    record = read_json(run(recipe, work, runtime=runtime, until="index"))
    work = world.parent / "work" / "runs" / "x"
    index = Index((work / record["artifacts"]["index"]).resolve(), world)
    masks = MaskFolder(world / "masks")
    share = write_corrupted_vote(tmp_path / "vote", index, masks)
    assert 0.28 < share < 0.38
    truth = evaluate.Truth(index.split("val"), masks, index.class_names)
    found = {"positive_negative": [], "cross_entropy": []}
    for random_seed in RANDOM_SEEDS:
        for loss, scores in found.items():
            folder = tmp_path / f"{loss}-{random_seed}"
            settings = recipe.segment.model_copy(
                update={"loss": loss, "min_support": MAJORITY, "steps": 300}
            )
            segment.run(
                index,
                tmp_path / "vote",
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
            scores.append(record["miou"])
    print(f"wrong labels {share:.2f}", found)  # noqa: T201
    assert np.mean(found["positive_negative"]) > np.mean(found["cross_entropy"])
