"""Words of vectors, each through a compiled function that uses it."""

import numpy as np
import pytest
from numba import njit

from tag2mask.kernels import lanes
from tag2mask.kernels.lanes import LANES
from tag2mask.kernels.mean_field import into_rows

add, add_scaled, fill, larger = lanes.add, lanes.add_scaled, lanes.fill, lanes.larger
largest, load, power_of_two = lanes.largest, lanes.load, lanes.power_of_two
scaled, store, total = lanes.scaled, lanes.store, lanes.total


@njit
def use_all(first, second, factor, out):
    a, b = load(first, 0), load(second, 1)
    store(out, 0, add(a, b))
    store(out, LANES, add_scaled(a, b, factor))
    store(out, 2 * LANES, scaled(a, factor))
    store(out, 3 * LANES, larger(a, b))
    store(out, 4 * LANES, fill(factor))
    return total(a), largest(b)


def test_words_of_arithmetic():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, LANES + 1)).astype(np.float32)
    out = np.empty((5, LANES), np.float32)
    found = use_all(first, second, np.float32(0.3), out)
    a, b = first[:LANES], second[1:]
    expected = [a + b, a + 0.3 * b, 0.3 * a, np.maximum(a, b), np.full(LANES, 0.3)]
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    assert found == pytest.approx((a.sum(), b.max()), rel=1e-5)


@njit
def powers(exponents, floor):
    for start in range(0, exponents.size, LANES):
        store(exponents, start, power_of_two(load(exponents, start), floor))


def test_powers_of_two_are_as_exact_as_floats():
    exponents = np.linspace(-59.9, 0, 8000, dtype=np.float32)
    found = exponents.copy()
    powers(found, np.float32(-60))
    np.testing.assert_allclose(found, np.exp2(exponents.astype(float)), rtol=1e-6)
    # whole octaves and their neighbours
    whole = np.nextafter(np.arange(-8, 0, dtype=np.float32), np.float32(0))
    expected = np.exp2(whole.astype(float))
    powers(whole, np.float32(-60))
    np.testing.assert_allclose(whole, expected, rtol=1e-6)


def test_what_lies_at_the_floor_or_below_is_nothing():
    exponents = np.array([-60, -61, -1e30, -59, 0, -1, -2, -126], np.float32)
    powers(exponents, np.float32(-60))
    assert exponents.tolist() == [0, 0, 0, 2**-59, 1, 0.5, 0.25, 0]


@pytest.mark.parametrize("num_pixels", [1, 63, 64, 65, 200])
def test_planes_become_padded_rows(num_pixels):
    planes = np.random.default_rng(0).normal(size=(5, num_pixels)).astype(np.float32)
    rows = np.empty((num_pixels, LANES), np.float32)
    into_rows(planes, rows)
    np.testing.assert_array_equal(rows[:, :5], planes.T)
    assert (rows[:, 5:] == np.float32(-1e30)).all()
