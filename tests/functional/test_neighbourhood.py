import numpy as np
import pytest

from tag2mask.functional.neighbourhood import pairs_within


def test_pairs_of_a_small_radius_by_hand():
    # below 2 lie the distances 1 and sqrt 2: right, and the three below
    found = [pair.offset.tolist() for pair in pairs_within(2)]
    assert found == [[0, 1], [1, -1], [1, 0], [1, 1]]


# points of the grid strictly inside a circle, without the centre, halved
@pytest.mark.parametrize(("radius", "count"), [(1, 0), (2, 4), (3, 12), (5, 34)])
def test_each_unordered_pair_occurs_once(radius, count):
    offsets = {tuple(pair.offset.tolist()) for pair in pairs_within(radius)}
    mirrored = {(-down, -right) for down, right in offsets}
    around = range(-radius, radius + 1)
    near = {(y, x) for y in around for x in around if 0 < y * y + x * x < radius**2}
    assert len(pairs_within(radius)) == len(offsets) == count
    assert not offsets & mirrored
    assert offsets | mirrored == near


def path(down, right):
    found = {tuple(each.offset.tolist()): each.path for each in pairs_within(5)}
    return found[down, right].tolist()


def test_paths_by_hand():
    assert path(0, 3) == [[0, 0], [0, 1], [0, 2], [0, 3]]
    # on a diagonal the neighbours of the line lie at sqrt 1/2, those after at sqrt 2
    assert sorted(path(1, -1)) == [[0, -1], [0, 0], [1, -1], [1, 0]]
    # from (0, 0) to (1, 2) the distance of (y, x) is |x - 2y| / sqrt 5,
    # below 1 for |x - 2y| <= 2, which all six pixels of the rectangle keep
    assert len(path(1, 2)) == 6
    # to (1, 3): |x - 3y| / sqrt 10 < 1 for |x - 3y| <= 3: all eight
    assert len(path(1, 3)) == 8
    # to (2, 4): |2x - 4y| / sqrt 20 < 1 for |x - 2y| <= 2; of 15 pixels (0, 3), (0, 4),
    # (2, 0) and (2, 1) are too far
    assert len(path(2, 4)) == 11


@pytest.mark.parametrize("radius", [2, 5, 10])
def test_a_path_stays_between_its_ends(radius):
    for offset, way in pairs_within(radius):
        low, high = np.minimum(offset, 0), np.maximum(offset, 0)
        assert ((way >= low) & (way <= high)).all()
        assert [0, 0] in way.tolist()
        assert offset.tolist() in way.tolist()
        # from either end it is the same path
        back = sorted((offset - way).tolist())
        assert back == sorted(way.tolist())


def test_what_the_cache_shares_cannot_be_changed():
    assert pairs_within(5) is pairs_within(5)
    with pytest.raises(ValueError, match="read-only"):
        pairs_within(5)[0].path[0, 0] = 7


def test_a_radius_below_1_is_refused():
    with pytest.raises(ValueError, match="radius must be at least 1, got 0"):
        pairs_within(0)
