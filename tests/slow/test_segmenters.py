"""SegFormer-B0 and Mask2Former-Swin-T overfit 8 images from random weights."""

import numpy as np
import pytest
import torch

from tag2mask import Runtime, config
from tag2mask.artifacts.labels import write_labels, write_support
from tag2mask.artifacts.tables import Index
from tag2mask.data.images import read_indexed
from tag2mask.data.masks import MaskFolder
from tag2mask.functional.shapes import IGNORE
from tag2mask.models.segmenters import load_segmenter
from tag2mask.stages import segment
from tag2mask.stages.predict import predict_labels

pytestmark = pytest.mark.slow
COMMON = {
    "weights": "none",
    "batch": 8,
    "crop": 64,
    "rescale": (1.0, 1.0),
    "colour_jitter": 0.0,
    "head_factor": 1.0,
    "weight_decay": 0.0,
    "warmup": 10,
    "min_support": 1,
}
SETTINGS = {
    "segformer": config.Segformer(
        network="segformer",
        variant="b0",
        steps=250,
        learning_rate=1e-3,
        options={"drop_path_rate": 0.0, "classifier_dropout_prob": 0.0},
        **COMMON,
    ),
    "mask2former": config.Mask2Former(
        network="mask2former",
        variant="swin-tiny",
        steps=120,
        learning_rate=3e-4,
        clip_norm=1.0,
        num_points=1024,
        options={"num_queries": 12},
        backbone_options={"drop_path_rate": 0.0},
        **COMMON,
    ),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An index of 8 scenes of 64 px, and a vote that is their truth."""
    from tag2mask import load_recipe, run, write_toy_world
    from tag2mask.artifacts.files import read_json

    root = tmp_path_factory.mktemp("overfit")
    write_toy_world(root / "world", num_train=8, num_val=1, random_seed=0, size=64)
    recipe = load_recipe("toy", [f"data.root={root / 'world'}"])
    summary = run(recipe, root / "work", runtime=Runtime(workers=1), until="index")
    folder = read_json(summary)["artifacts"]["index"]
    index = Index((summary.parent / folder).resolve(), root / "world")
    masks = MaskFolder(root / "world" / "masks")
    for image in index.split("train"):
        size = (image.width, image.height)
        truth = masks.read(image.name, num_classes=index.num_classes, size=size)
        labels = torch.from_numpy(truth.copy())
        write_labels(root / "vote" / "labels", image.name, labels)
        write_support(root / "vote" / "support", image.name, (labels != IGNORE).byte())
    return index, masks, root / "vote"


@pytest.mark.parametrize("name", SETTINGS)
def test_eight_images_are_learnt_by_heart(small, tmp_path, name, record_property):
    index, masks, voted = small
    runtime = Runtime(workers=1)
    lesson = segment.Lesson(voted)
    segment.run(index, lesson, SETTINGS[name], tmp_path, random_seed=0, runtime=runtime)
    network = load_segmenter(tmp_path).network
    right = labelled = 0
    for image in index.split("train"):
        size = (image.width, image.height)
        truth = masks.read(image.name, num_classes=index.num_classes, size=size)
        pixels = torch.from_numpy(read_indexed(index, image))
        found = predict_labels(network, pixels, config.Predict(), runtime.device)
        right += np.count_nonzero((found.numpy() == truth) & (truth != IGNORE))
        labelled += np.count_nonzero(truth != IGNORE)
    record_property("pixel accuracy", right / labelled)
    assert right / labelled > 0.95
