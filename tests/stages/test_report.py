import base64
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

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
from tag2mask.models.backbones import make_backbone
from tag2mask.models.segmenters import make_network, write_card
from tag2mask.models.weights import save_module
from tag2mask.stages import report
from tag2mask.stages.report_gallery import choose_images, show_images
from tag2mask.stages.report_panels import make_panel, open_predictor, pick_for_show

HEIGHT, WIDTH = 24, 32
NAMES = ("background", "cat", '<b>"x"</b>')
IMAGES = (
    ImageRecord("a", "images/a.png", WIDTH, HEIGHT, (1,), "train"),
    ImageRecord("b/c", "images/b/c.png", WIDTH, HEIGHT, (1, 2), "train"),
    ImageRecord("d", "images/d.png", WIDTH, HEIGHT, (2,), "val"),
)
RUNTIME = Runtime(workers=1)
VOID = {"meta", "img", "link", "input", "br", "hr"}
PROTOCOL = {
    "split": "train",
    "scales": [0.5, 1.0],
    "flip": True,
    "crf": "seeds",
    "tags_at_test": True,
    "uses_truth": False,
    "init": "resnet18: random",
    "random_seed": 0,
}
PER_CLASS = {"background": 90.0, "cat": 40.0, '<b>"x"</b>': None}


class Outline(HTMLParser):
    """Fails where an element is not closed in its turn; collects what a page has."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, name):
        return [value for key, value in self.attributes if key == name]


@pytest.fixture
def index(tmp_path):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([7 * columns, 9 * rows, 4 * (rows + columns)], axis=-1)
    for image in IMAGES:
        path = tmp_path / image.file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    write_index(tmp_path / "index", IMAGES, NAMES, [])
    return Index(tmp_path / "index", tmp_path)


@pytest.fixture
def bare(index):
    """Only the index is made."""
    return report.Sources(index, (), None, 1, None, {}, "val", None)


@pytest.fixture
def sources(tmp_path, bare):
    """Two voters that disagree in one corner, their vote, a prediction and truth."""
    folders = [tmp_path / "one", tmp_path / "two"]
    voters = tuple(
        report.Voter(f"voter-{each.name}", each / "cams", LabelFolder(each / "labels"))
        for each in folders
    )
    (tmp_path / "masks").mkdir()
    for image in IMAGES:
        labels = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
        labels[4:16, 4:20] = image.tags[-1]
        other = labels.clone()
        other[:4, :4] = 1
        write_labels(tmp_path / "masks", image.name, labels)
        for voter, ballot in zip(voters, (labels, other), strict=True):
            maps = torch.rand(len(image.tags), 6, 8, generator=torch.manual_seed(0))
            write_cams(voter.cams, image.name, Cams(maps, image.tags))
            write_labels(voter.labels.folder, image.name, ballot)
        voted = vote(torch.stack([labels, other]))
        write_labels(tmp_path / "vote" / "labels", image.name, voted.labels)
        write_support(tmp_path / "vote" / "support", image.name, voted.support)
    predictions = tmp_path / "predictions"
    write_labels(predictions, "d", labels)
    return replace(
        bare,
        voters=voters,
        vote=tmp_path / "vote",
        min_support=2,
        predictions={"plain": LabelFolder(predictions)},
        masks=MaskFolder(tmp_path / "masks"),
    )


def score(stage, subject, miou, **more):
    protocol = PROTOCOL | more.pop("protocol", {})
    return {
        "stage": stage,
        "subject": subject,
        "miou": miou,
        "per_class": PER_CLASS,
        "pixel_accuracy": 88.0,
        "protocol": protocol,
    } | more


SCORES = (
    score(
        "cam",
        "voter-one",
        30.5,
        miou_by_threshold=[10.0, 30.5, 20.0],
        protocol={"threshold": 0.5, "threshold_chosen": "fixed", "crf": "none"},
    ),
    score("seed", "voter-one", 44.25),
    score("vote", "vote", 55.0, worst_images=[{"image": "a", "miou": 12.3}]),
    {
        "stage": "vote",
        "subject": "clean pixels",
        "by_min_support": [
            {
                "min_support": t,
                "coverage": 97.5,
                "purity": 91.5,
                "object_coverage": 80.5,
            }
            for t in (1, 2)
        ],
        "by_support": [
            {"support": 1, "share": 2.5, "purity": 31.25},
            {"support": 2, "share": 97.5, "purity": 91.5},
        ],
        "protocol": PROTOCOL,
    },
    score(
        "predict",
        "plain",
        61.5,
        interval=[58.5, 64.5],
        boundary_iou=33.5,
        confusion=[[90, 10, 0, 0], [50, 40, 10, 0], [0, 0, 0, 0]],
        worst_images=[{"image": "d", "miou": 9.9}],
        samples=[
            {
                "class_id": 2,
                "worst": [{"image": "d", "iou": 8.75}],
                "best": [{"image": "not of the index", "iou": 77.5}],
            }
        ],
        protocol={"split": "val", "tags_at_test": False},
    ),
)
PROXIES = {
    "vote": {
        "agreement": {"voter-one": 81.5, "voter-two": 83.5},
        "coverage": {"1": 100.0, "2": 97.5},
        "least_agreement": [{"image": "a", "unanimous": 96.0}],
        "samples": [
            {"class_id": 1, "worst": [{"image": "b/c", "unanimous": 94.5}], "best": []}
        ],
    },
    "predict plain": {
        "tag_recall": 75.5,
        "tag_precision": 50.5,
        "by_class": {"1": {"tag_recall": 65.5, "tag_precision": None}},
    },
}


def content(**changes):
    whole = report.Content(
        title="toy <run>",
        recipe={"random_seed": 0, "data": {"root": "data", "masks": None}},
        scores=SCORES,
        proxies=PROXIES,
        notes=["<i>3 & 4</i> are left out"],
        warnings=["may have collapsed"],
        stages=[
            {
                "stage": "segment",
                "subject": "deeplab_v2",
                "key": "0123456789ab",
                "seconds": 12.25,
                "images_per_second": None,
            }
        ],
        environment={"torch": "2.6"},
    )
    return whole._replace(**changes)


def render(folder, sources, panels=24, **changes):
    settings = config.Report(panels=panels)
    report.run(content(**changes), sources, settings, folder, runtime=RUNTIME)
    return (folder / report.REPORT).read_text(encoding="utf-8")


def sections(page):
    return re.findall(r'<h2 id="([a-z]+)"', page)


def kinds(panel):
    return [cell.kind for cell in panel.cells]


def test_page_is_well_formed_and_holds_all_that_it_shows(tmp_path, sources):
    page = render(tmp_path / "out", sources)
    outline = Outline(page)
    assert page.startswith("<!DOCTYPE html>")
    assert "link" not in outline.tags
    assert "http" not in page.replace('<meta http-equiv="', "")
    assert outline.all("src")
    assert all(each.startswith("data:image/") for each in outline.all("src"))
    assert all(each.startswith("#") for each in outline.all("href"))
    anchors = {each[1:] for each in outline.all("href")}
    assert anchors <= set(outline.all("id"))
    assert len(set(outline.all("id"))) == len(outline.all("id"))


def test_page_of_everything_has_every_section(tmp_path, sources):
    assert sections(render(tmp_path / "out", sources)) == [
        *("scores", "classes", "thresholds", "clean", "proxies"),
        *("images", "time", "recipe", "reading"),
    ]


def test_script_is_the_one_that_the_policy_allows(tmp_path, bare):
    page = render(tmp_path / "out", bare)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (allowed,) = re.findall(r"script-src '(.*?)'", unescape(page))
    assert "data-filters" in script
    assert allowed == report._script_hash(script)
    assert "default-src 'none'" in page


def test_names_and_notes_are_escaped(tmp_path, sources):
    page = render(tmp_path / "out", sources)
    assert '<b>"x"</b>' not in page
    assert "&lt;b&gt;&#34;x&#34;&lt;/b&gt;" in page
    assert "&lt;i&gt;3 &amp; 4&lt;/i&gt; are left out" in page
    assert "toy &lt;run&gt;" in page


def test_numbers_are_where_a_reader_looks(tmp_path, sources):
    text = " ".join(Outline(render(tmp_path / "out", sources)).text.split())
    assert "Segmenter, plain61.5 %mIoU, val (95 %: 58.5 to 64.5)" in text
    assert "may have collapsed" in text
    for number in ("33.5", "44.2", "91.5", "80.5", "83.5", "12.2", "0123456789ab"):
        assert number in text
    assert "predict: mIoU 9.9 %" in text
    assert '[data] root = "data"' in text


def test_without_masks_the_proxies_come_first(tmp_path, sources):
    sources = replace(sources, masks=None)
    page = render(tmp_path / "out", sources, scores=[])
    assert sections(page)[0] == "proxies"
    assert "scores" not in sections(page)
    assert "Voters agree" in page
    assert "82.5 %" in page  # the mean of 81.5 and 83.5
    assert "96.0 % of the pixels are unanimous" in page
    assert "<b>truth</b>" not in page
    text = " ".join(Outline(page).text.split())
    assert "tag recall (predict plain)" in text
    assert "65.5" in text
    assert "b/c: unanimous 94.5 %" in text
    # 100 % of the pixels have a vote, 97.5 % have two
    assert "1 vote: 2.5 % of the pixels</title>" in page


def test_only_the_index(tmp_path, bare):
    nothing = {"scores": [], "proxies": {}, "notes": [], "warnings": [], "stages": []}
    page = render(tmp_path / "out", bare, **nothing)
    Outline(page)
    assert sections(page) == ["images", "recipe"]
    assert set(re.findall(r"<figcaption><b>(\w+)</b>", page)) == {"image"}


def test_labels_from_the_truth_have_no_vote(tmp_path, sources):
    ceiling = replace(sources, voters=(), vote=None)
    truth = score("predict", "plain", 70.0, protocol={"uses_truth": True})
    page = render(tmp_path / "out", ceiling, scores=[truth], proxies={})
    assert "<b>vote</b>" not in page
    assert "clean" not in sections(page)
    assert page.count('<span class="badge">uses ground truth</span>') == 3


def test_a_score_that_saw_no_truth_has_no_badge(tmp_path, bare):
    page = render(tmp_path / "out", bare)
    # once, where the badges are explained
    assert page.count('<span class="badge">uses ground truth</span>') == 1
    assert page.count('<span class="badge">oracle</span>') == 1


def test_an_oracle_says_so(tmp_path, bare):
    protocol = {"threshold": 0.4, "threshold_chosen": "oracle", "uses_truth": True}
    page = render(
        tmp_path / "out",
        bare,
        scores=[
            score("cam", "v", 50.0, miou_by_threshold=[1.0, 2.0], protocol=protocol)
        ],
    )
    assert page.count('<span class="badge">uses ground truth</span>') == 2
    assert page.count('<span class="badge">oracle</span>') == 2


def test_equal_inputs_give_equal_files(tmp_path, sources):
    for name in ("one", "two"):
        render(tmp_path / name / "out", sources)
    for name in (report.REPORT, report.PICTURE):
        one, two = (tmp_path / each / "out" / name for each in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_number_of_panels_is_alive(tmp_path, sources):
    nothing = {"scores": [], "proxies": {}}
    pages = [render(tmp_path / str(n), sources, n, **nothing) for n in (0, 1, 2)]
    counts = [page.count('<article class="panel') for page in pages]
    # one of train and one of val; then all there are
    assert counts == [0, 2, 3]
    assert not (tmp_path / "0" / report.PICTURE).exists()


def test_a_large_photograph_stays_small(tmp_path, bare):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(bare.index.path(IMAGES[0]))
    large = [IMAGES[0]._replace(width=1200, height=900), *IMAGES[1:]]
    write_index(bare.index.folder, large, NAMES, [])
    page = render(tmp_path / "out", bare)
    encoded = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    assert max(len(base64.b64decode(each)) for each in encoded) < 40_000


def test_panel_shows_what_there_is_in_the_order_of_the_stages(sources):
    train, _, val = (make_panel(sources, image, None) for image in IMAGES)
    assert kinds(train) == ["image", "CAM", "seed", "seed", "vote", "clean", "truth"]
    assert "prediction" in kinds(val)
    # 16 of 768 pixels have a single vote
    assert train.cells[5].detail == "98% with 2 or more votes"


def test_panel_shows_what_other_thresholds_call_clean(sources):
    panel = make_panel(replace(sources, clean_at=(2, 1)), IMAGES[0], None)
    assert [cell.detail for cell in panel.cells if cell.kind == "clean"] == [
        "100% with 1 or more votes",
        "98% with 2 or more votes",
    ]


def test_panel_names_the_tags_of_its_heat(sources):
    panel = make_panel(sources, IMAGES[1], None)
    assert panel.cells[1].detail == 'cat, <b>"x"</b> (voter-one)'


def test_train_is_predicted_by_the_segmenter(tmp_path, sources):
    torch.manual_seed(0)
    card = {
        "network": "deeplab_v1",
        "backbone": "test_resnet.r160_in1k",
        "backbone_options": {},
        "output_stride": 16,
        "dilate": True,
        "rates": [12],
        "class_names": list(NAMES),
    }
    backbone = make_backbone(card["backbone"], weights="none", output_stride=16)
    network = make_network(backbone, "deeplab_v1", num_classes=len(NAMES))
    write_card(tmp_path / "segment", card)
    save_module(network, tmp_path / "segment" / "weights.safetensors")
    sources = replace(sources, segment=tmp_path / "segment")
    predictor = open_predictor(sources, RUNTIME)
    found = predictor(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert found.shape == (HEIGHT, WIDTH)
    assert found.max() < len(NAMES)
    assert kinds(make_panel(sources, IMAGES[0], predictor))[-2] == "prediction"
    doubting = replace(sources, protocol=config.Predict(presence=50.0))
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    certain = open_predictor(doubting, RUNTIME)(noise)
    assert (certain != predictor(noise)).any()
    page = render(tmp_path / "out", sources)
    assert page.count("<b>prediction</b>") == 3  # every panel: 2 train, 1 val


def test_panels_tell_what_they_are_chosen_by(tmp_path, sources):
    page = render(tmp_path / "out", sources)
    chosen = re.findall(r'data-classes="(.*?)" data-groups="(.*?)"', page)
    assert chosen == [
        ("1", "train worst"),
        ("1 2", "train"),
        ("2", "test worst samples"),
    ]


def test_one_split_is_shown_once(tmp_path, sources):
    page = render(tmp_path / "out", replace(sources, test_split="train"))
    assert 'value="test"' not in page


def test_slider_starts_at_the_last_stage_but_the_truth(tmp_path, sources):
    page = render(tmp_path / "out", sources)
    slides = re.findall(r'max="(\d)" value="(\d)" aria-label="stage of (.*?)"', page)
    # image, CAM, two seeds, vote, clean, truth; the last has a prediction too
    assert slides == [("6", "5", "a"), ("6", "5", "b/c"), ("7", "6", "d")]


def test_samples_of_a_class_lead_to_their_panels(tmp_path, sources):
    page = render(tmp_path / "out", sources)
    (thumb,) = re.findall(r'<a class="thumb of-(\d)" href="#image-(\d)">', page)
    assert thumb == ("2", "2")
    text = " ".join(Outline(page).text.split())
    assert "d: IoU 8.8 %" in text
    assert "not of the index: IoU 77.5 %" in text
    assert 'among the worst of <b>"x"</b>: IoU 8.8 %' in text


def test_every_photograph_is_held_once(tmp_path, sources):
    page = render(tmp_path / "out", sources)
    assert page.count("data:image/jpeg;base64,") == len(IMAGES)


def test_pictures_that_find_no_room_are_left_out_and_counted(sources):
    chosen = choose_images(content(), sources, 24)
    whole = show_images(sources, chosen, None, runtime=RUNTIME)
    assert whole.num_left_out == 0
    first = whole.panels[0].num_bytes
    some = show_images(sources, chosen, None, runtime=RUNTIME, most_bytes=first)
    assert [panel.name for panel in some.panels] == ["a"]
    assert some.num_left_out == 2
    less = show_images(sources, chosen, None, runtime=RUNTIME, most_bytes=first - 1)
    assert less.panels == []


def test_page_tells_what_was_left_out(tmp_path, sources, monkeypatch):
    monkeypatch.setattr(report, "show_images", show_one)
    page = render(tmp_path / "out", sources)
    Outline(page)
    assert "2 more were left out to keep this page small" in page
    assert page.count('<article class="panel') == 1


def show_one(sources, chosen, predictor, *, runtime):
    gallery = show_images(sources, chosen[:1], predictor, runtime=runtime)
    return gallery._replace(num_left_out=len(chosen) - 1)


def record(name, *tags):
    return ImageRecord(name, f"{name}.jpg", 10, 10, tags, "train")


def test_picked_images_spread_over_the_classes():
    images = [record(f"cat{n:02}", 1) for n in range(50)]
    images += [record("dog", 2), record("empty"), record("bird", 3)]
    picked = report.pick_images(images, 6)
    assert picked == report.pick_images(images[::-1], 6)[::-1]
    names = [image.name for image in picked]
    assert {"dog", "empty", "bird"} < set(names)
    assert len(names) == 6
    assert list(picked) == [image for image in images if image in picked]


def test_an_image_of_two_classes_shows_both():
    images = [record("ab", 1, 2), *(record(f"c{n}", 3) for n in range(9))]
    names = [image.name for image in report.pick_images(images, 3)]
    # class 1 takes "ab", which shows 2 as well; class 3 takes the other two
    assert names[0] == "ab"
    assert len(names) == 3


@pytest.mark.parametrize(("count", "picked"), [(0, 0), (2, 2), (9, 3)])
def test_no_more_images_are_picked_than_there_are(count, picked):
    assert len(report.pick_images(IMAGES, count)) == picked


def test_for_show_new_classes_come_first(sources):
    # both are alike but for their tags, and a/b share the cat
    shown = pick_for_show(sources, IMAGES, 2)
    assert {tag for image in shown for tag in image.tags} == {1, 2}


def test_picture_has_a_row_for_each_image(tmp_path, sources):
    heights = []
    for names in (("a",), ("a", "b/c", "d")):
        path = tmp_path / "picture.png"
        report.save_picture(sources, names, path, runtime=RUNTIME)
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            heights.append(picture.height)
            assert 1150 < picture.width <= 1200
    assert heights[1] > 2.5 * heights[0]


@pytest.mark.parametrize("names", [(), ("a", "nobody")])
def test_picture_of_unknown_images(sources, names):
    with pytest.raises(ValueError, match="expected images of the index, got"):
        report.save_picture(sources, names, Path("x.png"), runtime=RUNTIME)
