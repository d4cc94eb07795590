import io
import tomllib

import numpy as np
import pytest
from PIL import Image

from tag2mask.stages.report_charts import (
    Curve,
    Mark,
    Support,
    support_chart,
    threshold_chart,
    time_chart,
)
from tag2mask.stages.report_pictures import (
    BRIGHTNESS,
    OPACITY,
    Layer,
    Tile,
    blend,
    clean_layer,
    fitting,
    heat_layer,
    labels_layer,
    layer_png,
    small_png,
    strip,
)
from tag2mask.stages.report_recipe import toml_text
from tag2mask.stages.report_tables import (
    Content,
    curves,
    number,
    score_tables,
    stage_times,
    supports,
)


def bytes_map(*rows):
    return np.array(rows, np.uint8)


def rgba(png):
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA"))


def test_label_layer_has_the_palette_and_a_transparent_background():
    pixels = rgba(layer_png(labels_layer(bytes_map([0, 1], [2, 255])), side=9))
    assert pixels[0, 0, 3] == 0
    assert pixels[0, 1].tolist() == [128, 0, 0, 255]
    assert pixels[1, 0].tolist() == [0, 128, 0, 255]
    assert pixels[1, 1].tolist() == [224, 224, 192, 255]


def test_clean_layer_is_green_red_and_grey():
    labels = bytes_map([1, 1, 255])
    layer = clean_layer(labels, bytes_map([2, 1, 0]), min_support=2)
    clean, noisy, unlabelled = layer.colours[layer.values[0]].tolist()
    assert clean[1] > 2 * clean[0]
    assert noisy[0] > 2 * noisy[1]
    assert len(set(unlabelled[:3])) == 1


def test_heat_is_transparent_at_none_and_opaque_at_full():
    layer = heat_layer(np.array([[0, 0.25, 1]], np.float32))
    alpha = layer.colours[layer.values[0]][:, 3].tolist()
    assert alpha[0] == 0
    assert 0 < alpha[1] < 255
    assert alpha[2] == 255
    assert layer.colours[layer.values[0, 2], :3].tolist() == [252, 255, 164]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 200), (100, 50)), ((200, 400), (50, 100)), ((30, 20), (30, 20))],
)
def test_pictures_shrink_and_never_grow(size, expected):
    assert fitting(*size, side=100) == expected


def test_a_very_narrow_picture_keeps_a_pixel():
    assert fitting(1000, 1, side=100) == (100, 1)


def test_blend_darkens_the_photograph_and_covers_it():
    photo = np.full((2, 2, 3), 200, np.uint8)
    colours = np.array([[0, 0, 0, 0], [100, 50, 0, 255]], np.uint8)
    layer = Layer(bytes_map([0, 0], [1, 1]), colours, is_smooth=False)
    pixels = np.asarray(blend(photo, layer, (2, 2)), float)
    dark = 200 * BRIGHTNESS
    assert pixels[0, 0] == pytest.approx([dark] * 3, abs=1)
    mixed = [(1 - OPACITY) * dark + OPACITY * each for each in (100, 50, 0)]
    assert pixels[1, 1] == pytest.approx(mixed, abs=1)
    assert np.asarray(blend(photo, None, (2, 2))).tolist() == photo.tolist()


def test_strip_is_as_wide_as_asked_and_shortens_captions():
    photo = np.zeros((20, 40, 3), np.uint8)
    tile = Tile("a caption that is much too long for it", photo, None)
    # a gap of 8 pixels, then four times 65 pixels and a gap
    assert strip([[tile] * 4, [tile]], width=300).width == 300


def test_strip_of_few_tiles_is_narrower():
    tile = Tile("image", np.zeros((20, 40, 3), np.uint8), None)
    # a gap of 8 pixels, the widest tile, a gap; a row is half as high as it is wide
    assert strip([[tile]], width=1200).size == (8 + 240 + 8, 8 + 120 + 18 + 8)


def test_small_png_gives_up_colours_for_the_limit():
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    assert (
        len(small_png(picture, limit=4000))
        <= 4000
        < len(small_png(picture, limit=99_000))
    )


def test_chart_draws_what_is_known():
    # the plot reaches from x 44 to 668 and from y 280 up to 12; 40 % tops at 50 %
    chart = threshold_chart(
        {"a&b": Curve([0.0, None, 40.0], [Mark("best", 1.0, 40.0)])}
    )
    assert 'points="44,280 668,65.6"' in chart
    assert "<title>a&amp;b</title>" in chart
    assert chart.count("<polygon") == 1
    assert "<circle" not in chart


def test_fixed_threshold_is_a_circle():
    chart = threshold_chart({"v": Curve([1.0, 2.0], [Mark("fixed", 0.15, 1.5)])})
    assert "<title>v, fixed: 1.5 at 0.15</title></circle>" in chart


def test_bars_of_supports_are_as_high_as_they_are_right():
    # two bars of 0.7 of 312 pixels; 75 % of 268 pixels upwards from 280, 25 % of 64
    chart = support_chart([Support(1, 25.0, 75.0), Support(2, None, None)])
    right = '<rect class="right" x="90.8" y="79" width="218.4" height="201">'
    assert f"{right}<title>1 vote: 25.0 % of the pixels, 75.0 % of them" in chart
    assert '<rect class="share" x="90.8" y="358" width="218.4" height="16">' in chart
    assert "<title>2 votes: no pixel</title>" in chart
    # one of two votes would be right in half of the cases
    assert '<line class="even" x1="90.8" x2="309.2" y1="146.0" y2="146.0"/>' in chart


def test_supports_that_nobody_judged_have_no_upper_part():
    chart = support_chart([Support(1, 25.0, None), Support(2, 75.0, None)])
    assert chart.count('class="share"') == 2
    assert 'class="right"' not in chart
    assert 'class="even"' not in chart


def test_supports_without_masks_come_from_the_coverage():
    coverage = {"vote": {"coverage": {"1": 100.0, "2": 62.5, "3": 12.5}}}
    found = supports(of([])._replace(proxies=coverage))
    shares = [37.5, 50.0, 12.5]
    assert found == [Support(n, each, None) for n, each in enumerate(shares, 1)]
    assert supports(of([])) == []


def test_times_of_a_stage_add_up_to_a_part_of_the_bar():
    rows = [("cam", 1.0), ("seed", 4.0), ("cam", 2.0), ("report", 0.0), ("<b>", 1.0)]
    stages = [{"stage": stage, "seconds": seconds} for stage, seconds in rows]
    times = stage_times(of([])._replace(stages=stages))
    assert times == [("cam", 3.0), ("seed", 4.0), ("<b>", 1.0)]
    # 680 pixels for 8 seconds
    chart = time_chart(times)
    assert 'x="0" y="0" width="255"' in chart
    assert 'x="255" y="0" width="340"' in chart
    assert "<title>&lt;b&gt;: 1.0 s, 12 %</title>" in chart


def test_recipe_reads_back_as_toml():
    recipe = {
        "random_seed": 3,
        "data": {"root": 'a "b" \\ c', "masks": None, "classes": ["é", "x"]},
        "voters": {"one": {"scales": [0.5, 1.0], "cam": {"flip": True}}},
        "odd": {"a key": {"value": 1e-4}},
    }
    expected = recipe | {"data": {"root": 'a "b" \\ c', "classes": ["é", "x"]}}
    assert tomllib.loads(toml_text(recipe)) == expected


@pytest.mark.parametrize("value", [None, float("nan")])
def test_an_undefined_number_is_a_dash(value):
    assert number(value) == "\N{EN DASH}"


def seed_score(number, miou, **protocol):
    return {
        "stage": "seed",
        "subject": f"v{number}",
        "miou": miou,
        "boundary_iou": 10.0,
        "protocol": {"split": "train", "uses_truth": False, "scales": [number]}
        | protocol,
    }


def of(scores):
    return Content("t", {}, scores, {}, [], [], [], {})


def test_many_voters_become_their_mean():
    scores = [seed_score(n, miou) for n, miou in enumerate([40.0, 50.0, 60.0], 1)]
    (mean,), each = score_tables(of(scores))
    assert mean.miou == 50
    assert mean.subject == "mean of 3 voters, 40.0 to 60.0"
    assert mean.boundary_iou == 10
    assert mean.pixel_accuracy is None
    assert mean.protocol[:2] == ("train", "various")
    assert [row.subject for row in each] == ["v1", "v2", "v3"]


def test_two_voters_have_a_line_each():
    main, each = score_tables(of([seed_score(1, 40.0), seed_score(2, None)]))
    assert [row.miou for row in main] == [40, None]
    assert each == []


def test_a_curve_has_the_marks_of_both_thresholds():
    shared = {"stage": "cam", "subject": "v", "miou_by_threshold": [1.0, 2.0]}
    scores = [
        shared | {"miou": miou, "protocol": {"threshold": t, "threshold_chosen": kind}}
        for miou, t, kind in ((1.0, 0.0, "fixed"), (2.0, 1.0, "oracle"))
    ]
    marks = [Mark("fixed", 0.0, 1.0), Mark("best", 1.0, 2.0)]
    assert curves(of(scores)) == {"v": Curve((1.0, 2.0), marks)}
