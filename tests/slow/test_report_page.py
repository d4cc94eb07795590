"""The report of a large run, its size, and what it does in a true browser.

Without a Chromium the latter is skipped.
"""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask import config
from tag2mask.artifacts.cams import Cams, write_cams
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.data.masks import MaskFolder
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.voting import vote
from tag2mask.stages import report
from tag2mask.stages.report_gallery import show_images

pytestmark = pytest.mark.slow

MARKUP = '<img src=x onerror="window.hacked=1"> & <b>'
HEIGHT, WIDTH = 180, 240
NUM_VOTERS = 4
RUNTIME = Runtime(workers=1)


def write_run(root, num_images, num_classes):
    """Write images of noise with rectangles, voters that err, their vote, the truth."""
    names = ["background", MARKUP, *(f"class {n}" for n in range(2, num_classes))]
    chance = np.random.default_rng(0)
    images, folders = [], [root / f"voter-{n}" for n in range(NUM_VOTERS)]
    (root / "masks").mkdir(parents=True)
    for number in range(num_images):
        tag = 1 + number % (num_classes - 1)
        split = "val" if number % 4 == 3 else "train"
        name = f"image {number:04}"
        images.append(ImageRecord(name, f"{name}.jpg", WIDTH, HEIGHT, (tag,), split))
        small = chance.integers(0, 256, (18, 24, 3), dtype=np.uint8)
        photo = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        photo.save(root / f"{name}.jpg")
        truth = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
        truth[40:140, 50:190] = tag
        ballots = []
        for folder in folders:
            top, left = chance.integers(0, 60, 2).tolist()
            ballot = torch.zeros_like(truth)
            ballot[top : top + 100, left : left + 140] = tag
            maps = torch.from_numpy(chance.random((1, 45, 60), np.float32))
            write_cams(folder / "cams", name, Cams(maps, (tag,)))
            write_labels(folder / "labels", name, ballot)
            ballots.append(ballot)
        voted = vote(torch.stack(ballots))
        write_labels(root / "masks", name, truth)
        write_labels(root / "vote" / "labels", name, voted.labels)
        write_support(root / "vote" / "support", name, voted.support)
        write_labels(root / "plain", name, voted.labels)
    write_index(root / "index", images, names, [])
    return report.Sources(
        index=Index(root / "index", root),
        voters=tuple(
            report.Voter(each.name, each / "cams", LabelFolder(each / "labels"))
            for each in folders
        ),
        vote=root / "vote",
        min_support=3,
        segment=None,
        predictions={"plain": LabelFolder(root / "plain")},
        test_split="val",
        masks=MaskFolder(root / "masks"),
    )


def score(stage, subject, names, level, **more):
    protocol = {
        "split": "val" if stage == "predict" else "train",
        "scales": [1.0],
        "flip": True,
        "crf": "none",
        "tags_at_test": stage != "predict",
        "uses_truth": False,
        "init": "resnet18: random",
        "random_seed": 0,
    }
    per_class = {name: (level + 7.3 * n) % 100 for n, name in enumerate(names)}
    return {
        "stage": stage,
        "subject": subject,
        "miou": level,
        "per_class": per_class,
        "boundary_iou": level / 2,
        "pixel_accuracy": level + 9,
        "protocol": protocol | more.pop("protocol", {}),
    } | more


def describe_run(sources):
    """Return made-up scores, with everything that a run's have."""
    index = sources.index
    names, val = index.class_names, index.split("val")
    k = len(names)
    of_class = [[each.name for each in val if n in each.tags] for n in range(k)]
    samples = [
        {
            "class_id": n,
            "worst": [{"image": each, "iou": 10.0} for each in found[:2]],
            "best": [{"image": each, "iou": 90.0} for each in found[2:4]],
        }
        for n, found in enumerate(of_class)
        if found
    ]
    chance = np.random.default_rng(1)
    confusion = chance.integers(0, 900, (k, k + 1)) + 20_000 * np.eye(
        k, k + 1, dtype=int
    )
    curve = [50 * np.sin(3 * t / 200) ** 2 for t in range(201)]
    fixed = {"threshold": 0.15, "threshold_chosen": "fixed"}
    cams = [
        score("cam", v.name, names, 30.0, miou_by_threshold=curve, protocol=fixed)
        for v in sources.voters
    ]
    seeds = [
        score("seed", v.name, names, 40.0 + n) for n, v in enumerate(sources.voters)
    ]
    votes = range(1, NUM_VOTERS + 1)
    clean = {
        "stage": "vote",
        "subject": "clean pixels",
        "protocol": cams[0]["protocol"],
        "by_min_support": [
            {
                "min_support": n,
                "coverage": 110 - 10.0 * n,
                "purity": 60 + 8.0 * n,
                "object_coverage": 100 - 9.0 * n,
            }
            for n in votes
        ],
        "by_support": [
            {"support": n, "share": 10.0 * n, "purity": 25 + 17.5 * n} for n in votes
        ],
    }
    predicted = score(
        "predict",
        "plain",
        names,
        60.0,
        interval=[57.0, 63.0],
        samples=samples,
        confusion=confusion.tolist(),
        worst_images=[{"image": each.name, "miou": 9.5} for each in val[:12]],
    )
    times = {
        "index": 2.0,
        "localize": 300.0,
        "cam": 90.0,
        "seed": 60.0,
        "segment": 500.0,
    }
    return report.Content(
        title=f"large {MARKUP}",
        recipe={"random_seed": 0},
        scores=[*cams, *seeds, score("vote", "vote", names, 55.0), clean, predicted],
        proxies={},
        notes=[],
        warnings=[],
        stages=[
            {
                "stage": stage,
                "subject": "of it",
                "key": "0123456789ab",
                "seconds": seconds,
                "images_per_second": None,
            }
            for stage, seconds in times.items()
        ],
        environment={"torch": "2.6"},
    )


def write_report(root, num_images, num_classes, panels=24):
    sources = write_run(root / "run", num_images, num_classes)
    settings = config.Report(panels=panels)
    content = describe_run(sources)
    report.run(content, sources, settings, root / "out", runtime=RUNTIME)
    return root / "out" / report.REPORT


def test_report_of_a_thousand_images_stays_below_15_megabytes(tmp_path):
    usual = write_report(tmp_path / "usual", 1000, 81)
    assert usual.stat().st_size <= 15_000_000


def test_report_of_more_panels_than_there_is_room_for_says_so(tmp_path, monkeypatch):
    room = 1_000_000
    monkeypatch.setattr(report, "show_images", partial(show_images, most_bytes=room))
    page = write_report(tmp_path, 100, 21, panels=100)
    # base64 makes four bytes of three; the rest is text
    assert room / 2 < page.stat().st_size <= room * 4 / 3 + 500_000
    assert "more were left out to keep this page small" in page.read_text("utf-8")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("page"), 24, 6, panels=6)


@pytest.fixture
def page(browser, page_file):
    """The report as opened from a disk; what goes wrong in it fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong, asked = [], []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page_file.as_uri())
    yield opened
    assert opened.evaluate("window.hacked") is None
    opened.close()
    assert wrong == []
    assert all(each.startswith(("file:", "data:")) for each in asked)


def texts(page, selector):
    return [each.strip() for each in page.locator(selector).all_inner_texts()]


def test_a_heading_sorts_a_table_by_key(page):
    rows = "#classes ~ .columns table tbody tr td:nth-child(2) .num"
    before = texts(page, rows)
    heading = page.locator(
        "#classes ~ .columns table thead th:nth-child(2) button"
    ).first
    heading.focus()
    page.keyboard.press("Enter")
    assert texts(page, rows) == sorted(before, key=float, reverse=True)
    page.keyboard.press("Enter")
    assert texts(page, rows) == sorted(before, key=float)
    sorts = page.locator("th[aria-sort]")
    assert [each.get_attribute("aria-sort") for each in sorts.all()] == ["ascending"]


def test_words_sort_from_a_to_z(page):
    page.locator("#time ~ .scroll thead button").first.click()
    rows = texts(page, "#time ~ .scroll tbody th")
    assert rows == ["cam", "index", "localize", "seed", "segment"]


def test_stage_filters_the_scores(page):
    page.select_option("select[data-filters]", "vote")
    shown = page.locator("#scores-tables tbody tr:visible")
    assert [each.get_attribute("data-key") for each in shown.all()] == ["vote"]


def test_arrow_keys_move_a_panel_through_the_stages(page):
    panel = page.locator(".panel").first
    seen = "figcaption >> visible=true"
    slide = panel.locator("input[type=range]")
    slide.focus()
    page.keyboard.press("Home")
    found = [panel.locator(seen).inner_text().split()[0]]
    for _ in range(int(slide.get_attribute("max"))):
        page.keyboard.press("ArrowRight")
        found.append(panel.locator(seen).inner_text().split()[0])
        assert panel.locator(".cell:visible").count() == 1
    seeds = ["seed"] * NUM_VOTERS
    stages = ["image", "CAM", *seeds, "vote", "clean", "prediction", "truth"]
    assert found == stages
    assert slide.get_attribute("aria-valuetext").startswith("truth")


def test_stage_moves_every_panel_or_picks_one_cell_of_each(page):
    page.select_option("#pick-stage", "vote")
    count = page.locator(".panel").count()
    cells = ".cell:visible"
    assert page.locator(cells).count() == count
    # panels out of sight are not laid out and have no inner text
    told = page.locator(f"{cells} b").all_text_contents()
    assert set(told) == {"vote"}
    page.select_option("#pick-view", "many")
    assert page.locator(cells).count() == count
    page.select_option("#pick-stage", "")
    assert page.locator(cells).count() > 8 * count


def test_class_and_choice_filter_the_panels(page):
    whole = page.locator(".panel").count()
    assert page.inner_text("#pick-count") == f"{whole} of {whole} images"
    page.select_option("#pick-class", "2")
    page.select_option("#pick-group", "test")
    shown = page.locator(".panel:visible").all()
    assert 0 < len(shown) < whole
    assert {each.get_attribute("data-classes") for each in shown} == {"2"}
    assert all("test" in each.get_attribute("data-groups") for each in shown)
    assert page.inner_text("#pick-count") == f"{len(shown)} of {whole} images"


def test_a_class_leads_to_its_samples_and_their_panels(page):
    page.locator("#classes ~ .columns a", has_text="class 2").click()
    opened = page.locator("#class-2")
    assert opened.get_attribute("open") is not None
    page.select_option("#pick-class", "3")
    thumb = opened.locator("a.thumb").first
    target = page.locator(thumb.get_attribute("href"))
    assert target.is_hidden()
    thumb.click()
    assert target.is_visible()
    opened.locator("a[data-class]").click()
    shown = page.locator(".panel:visible").all()
    assert {each.get_attribute("data-classes") for each in shown} == {"2"}


def test_a_class_is_found_by_its_name(page):
    page.fill("input[type=search]", "ONERROR")
    assert texts(page, "details.class:visible summary") == [MARKUP]


def test_without_script_every_stage_is_seen(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator(".choices").is_hidden()
    assert page.locator(".slide").first.is_hidden()
    panels, cells = page.locator(".panel"), page.locator(".cell:visible")
    assert cells.count() > 8 * panels.count()
    context.close()
