import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tag2mask.functional.cam import class_activation, merge_views, normalise_cams

law = settings(deadline=None, max_examples=30)


def maps(low: float) -> st.SearchStrategy[torch.Tensor]:
    return arrays(
        "float32",
        array_shapes(min_dims=4, max_dims=4, max_side=3),
        elements=st.floats(low, 100, width=32),
    ).map(torch.from_numpy)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_evidence_against_a_class_is_dropped():
    assert class_activation(row(-2.0, 0.0, 3.0)).flatten().tolist() == [0, 0, 3]


def test_contrast_takes_off_what_all_tags_share():
    logits = torch.tensor([5.0, 1.0, -3.0]).view(1, 3, 1, 1)  # mean 1
    contrasted = class_activation(logits, contrast=True)
    assert contrasted.flatten().tolist() == [4, 0, 0]
    assert torch.equal(class_activation(logits - 7, contrast=True), contrasted)


def test_a_single_tag_has_nothing_to_contrast_with():
    assert class_activation(row(-2.0, 3.0), contrast=True).flatten().tolist() == [0, 3]


@law
@given(maps(-100))
def test_one_upright_view_of_its_own_size_is_itself(view):
    merged = merge_views([view], is_mirrored=[False], size=tuple(view.shape[-2:]))
    assert torch.equal(merged, view)


@law
@given(maps(-100))
def test_a_view_and_its_mirror_image_sum_to_twice_the_view(view):
    merged = merge_views(
        [view, view.flip(-1)], is_mirrored=[False, True], size=tuple(view.shape[-2:])
    )
    assert torch.equal(merged, 2 * view)


def test_orientation_is_alive():
    turned = merge_views([row(1.0, 2.0)], is_mirrored=[True], size=(1, 2))
    assert turned.flatten().tolist() == [2, 1]


def test_views_are_resized_between_pixel_centres():
    # centres of 4 pixels over 2: -0.25 (held at 0), 0.25, 0.75, 1.25 (held at 1)
    small = row(0.0, 4.0)
    merged = merge_views(
        [small, row(1.0, 1.0, 1.0, 1.0)], is_mirrored=[False] * 2, size=(1, 4)
    )
    assert merged.flatten().tolist() == [1, 2, 4, 5]


@law
@given(maps(0), st.integers(1, 5), st.integers(1, 5))
def test_order_of_views_does_not_matter(view, height, width):
    views, mirrored = [view, view[..., :1, :] * 2], [False, True]
    one = merge_views(views, is_mirrored=mirrored, size=(height, width))
    other = merge_views(views[::-1], is_mirrored=mirrored[::-1], size=(height, width))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("views", "mirrored", "message"),
    [
        ([], [], "got 0 views and 0 orientations"),
        ([row(1.0)], [], "got 1 views and 0 orientations"),
    ],
)
def test_every_view_has_an_orientation(views, mirrored, message):
    with pytest.raises(ValueError, match=message):
        merge_views(views, is_mirrored=mirrored, size=(1, 1))


def test_each_map_is_divided_by_its_own_maximum():
    cams = torch.tensor([[0.0, 4.0], [1.0, 0.5]]).view(1, 2, 1, 2)
    normalised = normalise_cams(cams)
    torch.testing.assert_close(
        normalised.flatten(), torch.tensor([0.0, 1.0, 1.0, 0.5]), atol=2e-5, rtol=0
    )


def test_tiny_maps_are_not_blown_up():
    # 1e-5 / (1e-5 + 1e-5)
    assert normalise_cams(row(1e-5)).item() == pytest.approx(0.5)


@law
@given(maps(0))
def test_normalised_maps_stay_in_range_and_zero_stays_zero(cams):
    normalised = normalise_cams(cams)
    assert ((normalised >= 0) & (normalised <= 1)).all()
    assert torch.equal(normalised == 0, cams == 0) or cams[cams > 0].min() < 1e-30
    torch.testing.assert_close(normalised[0], normalise_cams(cams[0]))
