"""The CRF made of torch alone against the compiled one."""

import pytest
import torch

from crf_fakes import agreement, make_image, make_scores
from tag2mask.functional.crf import PRESETS, SEEDS, dense_crf
from tag2mask.functional.crf_on_cpu import infer_on_cpu
from tag2mask.functional.crf_on_device import infer_on_device

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def batch(num_labels=3, height=24, width=30, num_items=2):
    scores = [make_scores(num_labels, height, width, seed) for seed in range(num_items)]
    images = [make_image(height, width, seed) for seed in range(num_items)]
    return torch.stack(scores), torch.stack(images)


def keep_all(scores):
    return torch.ones(scores.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(60, 80), (1, 1), (1, 9), (3, 200)])
def test_marginals_are_those_of_the_compiled_kernels(name, size):
    scores, images = batch(4, *size)
    both = [
        infer(scores, keep_all(scores), images, PRESETS[name])
        for infer in (infer_on_cpu, infer_on_device)
    ]
    torch.testing.assert_close(*both, atol=1e-3, rtol=0)
    for first, second in zip(*both, strict=True):
        assert agreement(first, second) >= 0.995


def test_a_clear_sky_sums_up_in_pieces():
    # 2,400 pixels of one colour around a few vertices: far more than one piece holds
    scores, images = batch(2, 40, 60, num_items=1)
    images[:] = 200
    knobs = SEEDS._replace(spatial_weight=0.0)
    both = [
        infer(scores, keep_all(scores), images, knobs)
        for infer in (infer_on_cpu, infer_on_device)
    ]
    torch.testing.assert_close(*both, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "knobs",
    [
        SEEDS._replace(iterations=0),
        SEEDS._replace(spatial_weight=0.0, bilateral_weight=0.0),
    ],
    ids=["steps", "weights"],
)
def test_without_steps_or_weights_it_is_the_softmax_of_log_scores(knobs):
    scores, images = batch()
    found = infer_on_device(scores, keep_all(scores), images, knobs)
    torch.testing.assert_close(found, scores)


@pytest.mark.parametrize(
    "knob",
    [
        {"spatial_sxy": 1.0},
        {"spatial_weight": 1.0},
        {"bilateral_sxy": 5.0},
        {"bilateral_srgb": 40.0},
        {"bilateral_weight": 2.0},
        {"iterations": 1},
    ],
    ids=str,
)
def test_every_knob_is_alive(knob):
    scores, images = batch()
    plain, changed = (
        infer_on_device(scores, keep_all(scores), images, preset)
        for preset in (SEEDS, SEEDS._replace(**knob))
    )
    assert (changed - plain).abs().mean() > 1e-3


def test_labels_that_take_no_part_change_nothing():
    scores, images = batch(5)
    kept = keep_all(scores)
    kept[0, [1, 3]] = False
    kept[:, 4] = False
    found = infer_on_device(scores, kept, images, SEEDS)
    assert found[0, [1, 3, 4]].eq(0).all()
    rest = scores[:1, [0, 2]]
    alone = infer_on_device(rest, keep_all(rest), images[:1], SEEDS)
    torch.testing.assert_close(found[:1, [0, 2]], alone, atol=1e-5, rtol=0)


def test_one_image_serves_all_items():
    scores, images = batch(3)
    shared = infer_on_device(scores, keep_all(scores), images[1:], SEEDS)
    repeated = images[1:].expand_as(images)
    each = infer_on_device(scores, keep_all(scores), repeated, SEEDS)
    torch.testing.assert_close(shared, each, atol=1e-5, rtol=0)


def test_it_gives_the_same_twice():
    scores, images = batch()
    first, second = (
        infer_on_device(scores, keep_all(scores), images, SEEDS) for _ in range(2)
    )
    assert torch.equal(first, second)


@ON_GPU
@pytest.mark.parametrize("name", PRESETS)
def test_labels_on_a_gpu_are_those_on_a_cpu(name):
    scores, images = batch(6, 120, 160)
    found = dense_crf(scores.cuda(), images, preset=name, min_score=0.01)
    assert found.device.type == "cuda"
    expected = dense_crf(scores, images, preset=name, min_score=0.01)
    assert agreement(found.cpu()[0], expected[0]) >= 0.995
    assert agreement(found.cpu()[1], expected[1]) >= 0.995


@ON_GPU
def test_a_gpu_gives_the_same_twice():
    scores, images = batch(6, 120, 160)
    first, second = (dense_crf(scores.cuda(), images) for _ in range(2))
    assert torch.equal(first, second)
