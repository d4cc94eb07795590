"""The dense CRF against brute force, and against the library that the field uses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from crf_fakes import agreement, make_image, make_scores
from tag2mask.functional.crf import (
    PRESETS,
    CrfPreset,
    dense_crf,
    dense_crf_exact,
    scores_from_labels,
)

PHOTOGRAPHS = Path(__file__).parents[3] / "shared/data/voc-mini/JPEGImages"
CROP = (0, 0, 280, 240)


def brute_force(scores: Tensor, image: Tensor, knobs: CrfPreset) -> np.ndarray:
    """Sum over every pair of pixels in Python, with the formulas of the paper."""
    num, height, width = scores.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    kernel = np.zeros((2, len(places), len(places)))
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            far = (y - v) ** 2 + (x - u) ** 2
            unlike = ((image[y, x].double() - image[v, u].double()) ** 2).sum().item()
            kernel[0, i, j] = np.exp(-far / (2 * knobs.spatial_sxy**2))
            kernel[1, i, j] = np.exp(
                -far / (2 * knobs.bilateral_sxy**2)
                - unlike / (2 * knobs.bilateral_srgb**2)
            )
    for one in kernel:
        norm = 1 / np.sqrt(one.sum(axis=1))
        one *= norm[:, None] * norm
    unary = -np.log(np.maximum(scores.double().flatten(1).numpy(), 1e-5))
    q = np.exp(-unary) / np.exp(-unary).sum(axis=0)
    for _ in range(knobs.iterations):
        energy = unary.copy()
        for weight, one in zip(
            (knobs.spatial_weight, knobs.bilateral_weight), kernel, strict=True
        ):
            for label in range(num):  # Potts: every other label costs
                others = np.delete(q, label, axis=0).sum(axis=0)
                energy[label] += weight * (one @ others)
        q = np.exp(-energy) / np.exp(-energy).sum(axis=0)
    return q.reshape(scores.shape)


@pytest.mark.parametrize("name", PRESETS)
def test_all_pairs_are_brute_force(name):
    scores, image = make_scores(3, 6, 5), make_image(6, 5)
    expected = brute_force(scores, image, PRESETS[name])
    found = dense_crf_exact(scores, image, preset=name)
    assert np.abs(found.numpy() - expected).max() < 1e-5


def pydensecrf_marginals(scores: Tensor, image: Tensor, knobs: CrfPreset) -> Tensor:
    densecrf = pytest.importorskip(
        "pydensecrf.densecrf", reason="pydensecrf2 is not installed"
    )
    num_labels, height, width = scores.shape
    field = densecrf.DenseCRF2D(width, height, num_labels)
    unary = -scores.clamp_min(1e-5).log().flatten(1).numpy()
    field.setUnaryEnergy(np.ascontiguousarray(unary))
    field.addPairwiseGaussian(sxy=knobs.spatial_sxy, compat=knobs.spatial_weight)
    field.addPairwiseBilateral(
        sxy=knobs.bilateral_sxy,
        srgb=knobs.bilateral_srgb,
        rgbim=np.ascontiguousarray(image.numpy()),
        compat=knobs.bilateral_weight,
    )
    marginals = np.array(field.inference(knobs.iterations))
    return torch.from_numpy(marginals).reshape(scores.shape)


@pytest.mark.parametrize("name", PRESETS)
def test_no_further_from_all_pairs_than_pydensecrf(name):
    ours, theirs = [], []
    for random_seed in range(4):
        scores, image = make_scores(4, 16, 20, random_seed), make_image(16, 20)
        exact = dense_crf_exact(scores, image, preset=name)
        reference = pydensecrf_marginals(scores, image, PRESETS[name])
        fast = dense_crf(scores, image, preset=name)
        ours.append((fast - exact).abs().mean().item())
        theirs.append((reference - exact).abs().mean().item())
    assert np.mean(ours) <= np.mean(theirs) + 0.002


@pytest.mark.parametrize("name", PRESETS)
def test_labels_are_those_of_pydensecrf(name):
    scores, image = make_scores(5, 90, 120), make_image(90, 120)
    if name == "irnet":
        scores = scores_from_labels(scores.argmax(dim=0), range(5))
    reference = pydensecrf_marginals(scores, image, PRESETS[name])
    assert agreement(dense_crf(scores, image, preset=name), reference) > 0.999
    assert agreement(scores, reference) < 0.99  # the CRF had something to do


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("index", [0, 500])
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="voc-mini is not here")
def test_labels_are_those_of_pydensecrf_on_photographs(name, index):
    path = sorted(PHOTOGRAPHS.glob("*.jpg"))[index]
    with Image.open(path) as photograph:
        image = torch.from_numpy(np.array(photograph.convert("RGB").crop(CROP)))
    scores = make_scores(4, *image.shape[:2])
    if name == "irnet":
        scores = scores_from_labels(scores.argmax(dim=0), range(4))
    reference = pydensecrf_marginals(scores, image, PRESETS[name])
    marginals = dense_crf(scores, image, preset=name)
    assert agreement(marginals, reference) > 0.999
    assert agreement(scores, reference) < 0.99  # the CRF had something to do
    assert (marginals - reference).abs().max() < 1e-2
