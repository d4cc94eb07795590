import tracemalloc

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.functional.neighbourhood import pairs_within
from tag2mask.functional.random_walk import (
    Walk,
    affinity,
    dense_transition,
    random_walk,
    refine_cams,
    walk_by_windows,
)

# the first call may compile, which no deadline allows for
law = settings(deadline=None, max_examples=10)
seeds = st.integers(0, 2**31)
sides = st.integers(1, 7)


def make(height, width, num=2, random_seed=0, dtype=torch.float64):
    """Scores, and edges of which many are near 0 and some near 1."""
    generator = torch.Generator().manual_seed(random_seed)
    scores = torch.rand(num, height, width, dtype=dtype, generator=generator)
    edges = torch.rand(height, width, dtype=dtype, generator=generator) ** 3
    return scores, edges


def by_definition(edges, radius, beta):
    """The transition matrix from pairs of pixels and distances from their line."""
    height, width = edges.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    matrix = np.eye(len(places))
    for i, a in enumerate(places):
        for j, b in enumerate(places[:i]):
            way = np.subtract(b, a)
            if np.hypot(*way) >= radius:
                continue
            between = [
                edges[c].item()
                for c in places
                if (np.minimum(a, b) <= c).all()
                and (np.maximum(a, b) >= c).all()
                and (way[0] * (c[1] - a[1]) - way[1] * (c[0] - a[0])) ** 2
                / way.dot(way)
                < 1
            ]
            matrix[i, j] = matrix[j, i] = (1 - max(between)) ** beta
    return torch.from_numpy(matrix / matrix.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("radius", "beta"), [(5, 10.0), (3, 1.0)])
def test_the_transition_matrix_is_its_definition(radius, beta):
    _, edges = make(4, 5)
    found = dense_transition(edges, radius=radius, beta=beta)
    torch.testing.assert_close(found, by_definition(edges, radius, beta))


def test_affinity_by_hand():
    edges = torch.tensor([[0.0, 0.5, 0.25]])
    found = affinity(edges, radius=3, beta=2.0)
    by_pair = {
        tuple(pair.offset.tolist()): plane
        for pair, plane in zip(pairs_within(3), found, strict=True)
    }
    # to the right: (1 - 1/2)^2 twice, then the image ends
    assert by_pair[0, 1].tolist() == [[0.25, 0.25, 0.0]]
    assert by_pair[0, 2].tolist() == [[0.25, 0.0, 0.0]]
    assert by_pair[1, 0].tolist() == [[0.0, 0.0, 0.0]]


def test_one_step_by_hand():
    edges = torch.tensor([[0.0, 0.0, 0.5]])
    scores = torch.tensor([[[1.0, 0.0, 0.0]]])
    found = random_walk(scores, edges, radius=2, beta=1.0, num_steps=1)
    # neighbours at distance 1, affinities 1 and 1/2: rows (1 1 0) / 2,
    # (1 1 1/2) / 2.5 and (0 1/2 1) / 1.5
    torch.testing.assert_close(found, torch.tensor([[[0.5, 0.4, 0.0]]]))


def relative(found, expected):
    return ((found - expected).abs() / expected.abs()).max().item()


def test_walk_equals_the_power_of_the_dense_matrix():
    scores, edges = make(24, 32, num=3)
    power = torch.linalg.matrix_power(dense_transition(edges), 256)
    expected = (power @ scores.flatten(1).T).T.reshape(scores.shape)
    assert relative(random_walk(scores, edges), expected) < 1e-10
    single = random_walk(scores.float(), edges.float())
    assert single.dtype == torch.float32
    assert relative(single, expected) < 1e-4


@law
@given(sides, sides, st.integers(1, 5), st.integers(0, 9), seeds)
def test_walk_by_windows_equals_the_compiled_one(height, width, radius, num, seed):
    scores, edges = make(height, width, random_seed=seed)
    fast = random_walk(scores, edges, radius=radius, num_steps=num)
    near = affinity(edges, radius=radius)
    torch.testing.assert_close(
        fast, walk_by_windows(scores, near, radius=radius, num_steps=num)
    )
    power = torch.linalg.matrix_power(dense_transition(edges, radius=radius), num)
    expected = (power @ scores.flatten(1).T).T.reshape(scores.shape)
    torch.testing.assert_close(fast, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_its_images(dtype):
    pairs = [make(6, 5, random_seed=seed, dtype=dtype) for seed in range(3)]
    scores, edges = (torch.stack(each) for each in zip(*pairs, strict=True))
    alone = torch.stack([random_walk(*pair, num_steps=9) for pair in pairs])
    found = random_walk(scores, edges, num_steps=9)
    torch.testing.assert_close(found, alone)
    windowed = walk_by_windows(scores, affinity(edges), radius=5, num_steps=9)
    torch.testing.assert_close(windowed, alone)
    assert found.dtype == windowed.dtype == dtype


@law
@given(sides, sides, st.floats(-50, 50, width=32, allow_subnormal=False), seeds)
def test_a_constant_stays_a_constant(height, width, value, seed):
    _, edges = make(height, width, random_seed=seed, dtype=torch.float32)
    scores = torch.full((2, height, width), value)
    assert torch.equal(random_walk(scores, edges), scores)  # to the last bit
    windowed = walk_by_windows(scores, affinity(edges), radius=5, num_steps=9)
    assert torch.equal(windowed, scores)


@law
@given(sides, sides, seeds)
def test_scores_stay_between_their_extremes(height, width, seed):
    scores, edges = make(height, width, random_seed=seed)
    found = random_walk(scores, edges)
    for before, after in zip(scores, found, strict=True):
        assert after.min() >= before.min() - 1e-12
        assert after.max() <= before.max() + 1e-12


def test_no_step_changes_nothing():
    scores, edges = make(6, 5)
    found = random_walk(scores, edges, num_steps=0)
    assert torch.equal(found, scores)
    assert found.data_ptr() != scores.data_ptr()


def test_where_all_is_edge_each_pixel_keeps_its_score():
    scores, edges = make(9, 8)
    assert torch.equal(random_walk(scores, torch.ones_like(edges)), scores)


def test_a_radius_of_1_leaves_a_pixel_alone():
    scores, edges = make(9, 8)
    assert torch.equal(random_walk(scores, edges, radius=1), scores)


def test_without_edges_a_small_image_becomes_its_mean():
    scores, edges = make(4, 4)
    found = random_walk(scores, torch.zeros_like(edges), radius=9)
    mean = scores.mean(dim=(1, 2), keepdim=True).expand_as(scores)
    torch.testing.assert_close(found, mean)


def test_nothing_crosses_a_wall():
    scores = torch.zeros(1, 8, 12)
    scores[..., :5] = 1
    edges = torch.zeros(8, 12)
    edges[:, 5] = 1
    torch.testing.assert_close(random_walk(scores, edges), scores)


@law
@given(sides, sides, seeds)
def test_a_mirrored_image_walks_alike(height, width, seed):
    scores, edges = make(height, width, random_seed=seed)
    for dims in ((-1,), (-2,), (-2, -1)):
        found = random_walk(scores.flip(dims), edges.flip(dims), num_steps=20)
        torch.testing.assert_close(
            found.flip(dims), random_walk(scores, edges, num_steps=20)
        )


def test_maps_walk_each_for_itself():
    scores, edges = make(7, 9, num=4)
    order = [2, 0, 3, 1]
    walked = random_walk(scores, edges)
    assert torch.equal(random_walk(scores[order], edges), walked[order])
    assert torch.equal(random_walk(scores[:1], edges), walked[:1])


def test_one_pixel_and_no_map():
    scores = torch.tensor([[[0.3]], [[0.7]]])
    assert torch.equal(random_walk(scores, torch.tensor([[0.2]])), scores)
    assert random_walk(scores[:0], torch.tensor([[0.2]])).shape == (0, 1, 1)


def test_a_wide_image():
    scores, edges = make(2, 4000, num=1, dtype=torch.float32)
    part = random_walk(scores[..., :100], edges[:, :100], num_steps=3)
    whole = random_walk(scores, edges, num_steps=3)
    # 3 steps of at most 4 pixels: nothing from beyond column 100 reaches the 88th
    torch.testing.assert_close(whole[..., :88], part[..., :88])


@pytest.mark.parametrize(
    "change", [{"radius": 3}, {"beta": 2.0}, {"num_steps": 20}], ids=str
)
def test_every_knob_is_alive(change):
    scores, edges = make(9, 8)
    changed = random_walk(scores, edges, **change)
    assert not torch.allclose(random_walk(scores, edges), changed)


def test_half_precision_walks_in_single():
    scores, edges = make(6, 5, dtype=torch.float32)
    found = random_walk(scores.half(), edges.half())
    assert found.dtype == torch.float32
    assert torch.equal(found, random_walk(scores.half().float(), edges.half().float()))


def test_inputs_are_left_alone():
    scores, edges = make(6, 5)
    before = scores.clone(), edges.clone()
    random_walk(scores, edges, num_steps=3)
    refine_cams(scores, edges, size=(24, 20), walk=Walk(num_steps=3))
    assert torch.equal(scores, before[0])
    assert torch.equal(edges, before[1])


@pytest.mark.parametrize(
    ("scores", "edges", "knobs", "message"),
    [
        ([[[0.1, float("nan")]]], [[0, 0]], {}, "scores must be finite, but some are"),
        ([[[0.1, float("inf")]]], [[0, 0]], {}, "scores must be finite"),
        ([[[0.1, 0.2]]], [[0, float("nan")]], {}, r"edges must lie in \[0, 1\].*nan"),
        ([[[0.1, 0.2]]], [[0, 1.5]], {}, r"edges must lie in \[0, 1\].* 0 to 1.5"),
        ([[[0.1, 0.2]]], [[0, 0, 0]], {}, r"got \(1, 1, 2\) and \(1, 3\)"),
        ([[[]]], [[]], {}, "edges must hold a pixel"),
        ([[[0.1]]], [[0]], {"radius": 0}, "radius must be at least 1, got 0"),
        ([[[0.1]]], [[0]], {"beta": -1.0}, "beta must be finite and not negative"),
        ([[[0.1]]], [[0]], {"num_steps": -1}, "num_steps must not be negative, got -1"),
    ],
)
def test_errors_read(scores, edges, knobs, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users call it
    with pytest.raises(ValueError, match=message):
        random_walk(torch.tensor(scores), torch.tensor(edges).float(), **knobs)


def test_memory_at_160_by_160_with_6_classes():
    scores, edges = make(160, 160, num=6, dtype=torch.float32)
    random_walk(scores[:, :8, :8], edges[:8, :8], num_steps=1)  # compiles
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        tracemalloc.start()
        random_walk(scores, edges, num_steps=2)
        _, of_numpy = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    held = of_torch = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            of_torch = max(of_torch, held)
    assert of_torch > 4 * 34 * 160**2  # at least the affinities: the profiler counts
    assert (of_torch + of_numpy) / 1e6 < 100


def test_refined_cams_by_hand():
    cams = torch.tensor([[[0.8, 0.0]], [[0.2, 0.4]]])
    edges = torch.tensor([[0.5, 0.0]])
    found = refine_cams(cams, edges, size=(1, 2), walk=Walk(2, 1.0, 1))
    # cam (1 - edge) is (0.4, 0) and (0.1, 0.4); affinity 1/2, so each pixel is
    # (2 own + other) / 3: (0.8, 0.4) / 3 and (0.6, 0.9) / 3; the highest is 0.3
    expected = torch.tensor([[[0.8, 0.4]], [[0.6, 0.9]]]) / 0.9
    torch.testing.assert_close(found, expected)


def test_refined_cams_are_damped_by_a_power_by_hand():
    cams, edges = torch.tensor([[[0.8, 0.4]]]), torch.tensor([[0.75, 0.0]])
    walks = [Walk(num_steps=0, damping=d) for d in (0.0, 0.5, 1.0)]
    found = [refine_cams(cams, edges, size=(1, 2), walk=walk) for walk in walks]
    # cam (1 - edge)^d is (0.8, 0.4), (0.8 / 2, 0.4), (0.8 / 4, 0.4)
    expected = torch.tensor([[1.0, 0.5], [1.0, 1.0], [0.5, 1.0]])
    torch.testing.assert_close(torch.stack(found)[:, 0, 0], expected)


def test_refined_cams_reach_1_at_the_image_s_size():
    cams, edges = make(6, 5, dtype=torch.float32)
    found = refine_cams(cams, edges, size=(24, 20))
    resized = torch.nn.functional.interpolate(
        found[None], (24, 20), mode="bilinear", align_corners=False
    )
    assert resized.max() == pytest.approx(1, abs=1e-6)
    walked = random_walk(cams * (1 - edges), edges)
    torch.testing.assert_close(found / found.max(), walked / walked.max())


def test_refined_cams_of_nothing():
    edges = torch.zeros(3, 4)
    assert refine_cams(torch.zeros(0, 3, 4), edges, size=(12, 16)).shape == (0, 3, 4)
    nothing = torch.zeros(2, 3, 4)
    assert torch.equal(refine_cams(nothing, edges, size=(12, 16)), nothing)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_gpu_walks_as_the_cpu():
    scores, edges = make(40, 50, num=3, dtype=torch.float32)
    found = random_walk(scores.cuda(), edges.cuda()).cpu()
    expected = random_walk(scores, edges)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (found.argmax(0) == expected.argmax(0)).float().mean() >= 0.995
