import numpy as np
import pytest

from tag2mask.functional.metrics import Bootstrap, scores_of


def one_image(generator):
    """A confusion matrix of two classes, of an image labelled well or badly."""
    right = generator.integers(0, 100, 2)
    return np.array([[right[0], 100 - right[0], 0], [100 - right[1], right[1], 0]])


def bootstrap_of(num_images, **knobs):
    generator = np.random.default_rng(0)
    bootstrap = Bootstrap(2, **knobs)
    for _ in range(num_images):
        bootstrap.add(one_image(generator))
    return bootstrap


def width(bootstrap, level=0.95):
    low, high = bootstrap.interval(level)
    return high - low


def test_identical_images_leave_no_doubt():
    bootstrap = Bootstrap(2, samples=50)
    for _ in range(20):
        bootstrap.add(np.array([[6, 2, 0], [1, 3, 4]]))
    # class 0: 6 / (6 + 1 + 2); class 1: 3 / (3 + 2 + 5)
    expected = (6 / 9 + 3 / 10) / 2
    assert bootstrap.interval() == pytest.approx((expected, expected))
    assert width(bootstrap) == 0


def test_more_images_narrow_the_interval():
    # the standard error falls with the square root: 16 times the images, a quarter
    assert width(bootstrap_of(320)) < 0.5 * width(bootstrap_of(20))


def test_interval_matches_resampling_with_replacement():
    generator = np.random.default_rng(0)
    images = np.stack([one_image(generator) for _ in range(200)])
    drawn = generator.integers(0, 200, (500, 200))
    resampled = [scores_of(images[indices].sum(axis=0)).miou for indices in drawn]
    low, high = np.quantile(resampled, [0.025, 0.975])
    bootstrap = Bootstrap(2, samples=500, random_seed=1)
    for image in images:
        bootstrap.add(image)
    assert bootstrap.interval() == pytest.approx((low, high), abs=0.1 * (high - low))


def test_the_interval_holds_the_score():
    generator = np.random.default_rng(0)
    miou = scores_of(sum(one_image(generator) for _ in range(50))).miou
    low, high = bootstrap_of(50).interval()
    assert low < miou < high


def test_a_seed_repeats_and_another_differs():
    first, again, other = (bootstrap_of(9, random_seed=s).interval() for s in (0, 0, 1))
    assert first == again != other


def test_level_and_samples_matter():
    bootstrap = bootstrap_of(30)
    quartiles = np.quantile(bootstrap.miou(), [0.25, 0.75])  # half lies between
    assert bootstrap.interval(0.5) == pytest.approx(tuple(quartiles))
    assert width(bootstrap, 0.5) < width(bootstrap, 0.95)
    assert len(bootstrap_of(30, samples=17).miou()) == 17


def test_a_single_image_drawn_by_no_sample_is_left_out():
    bootstrap = bootstrap_of(1)
    assert np.isnan(bootstrap.miou()).any()  # Poisson(1) is 0 with chance 1/e
    assert width(bootstrap) == 0


def test_errors_of_the_bootstrap_read():
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        Bootstrap(2, samples=0)
    with pytest.raises(ValueError, match="no scored pixel was added"):
        Bootstrap(2).interval()
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        bootstrap_of(3).interval(95.0)
    with pytest.raises(ValueError, match="confusion matrix of 2 classes, got 3"):
        Bootstrap(2).add(np.zeros((3, 4), np.int64))
