"""A segmenter that labels its own images anew and learns on from them."""

import shutil

import pytest
import torch
from PIL import Image

from tag2mask import load_recipe, plan, run
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.config import SecondRound
from tag2mask.data.images import read_indexed
from tag2mask.errors import DatasetError, RecipeError
from tag2mask.export.label_maps import Source, open_maps
from tag2mask.functional.voting import count_support
from tag2mask.models.segmenters import load_segmenter
from tag2mask.models.weights import read_weights
from tag2mask.pipeline.score_table import protocol_words
from tag2mask.serve.gallery import open_gallery
from tag2mask.stages import relabel
from tag2mask.stages.relabel import tagged_labels
from test_refining import RUNTIME, Done, todo
from test_resume import ALONE, check_whole, results, run_with_faults

TABLE = "segment.second_round={crf='none', flip=false}"
LATER = {"retrain deeplab_v2", "predict plain", "predict final", "report",
         "evaluate predict plain", "evaluate predict final",
         "proxies predict plain", "proxies predict final"}  # fmt: skip
BOTH = {"relabel", "evaluate relabel segmenter"} | LATER


@pytest.fixture(scope="module")
def twice_file(recipe_file, tmp_path_factory):
    """The tiny recipe with a second round."""
    text = recipe_file.read_text() + "\n[segment.second_round]\ncrf = 'none'\n"
    path = tmp_path_factory.mktemp("twice") / "twice.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def twice(twice_file, tmp_path_factory):
    """That recipe, run once."""
    torch.manual_seed(0)
    work = tmp_path_factory.mktemp("twice-work") / "work"
    recipe = load_recipe(twice_file)
    return Done(work, run(recipe, work, runtime=RUNTIME, name="twice"))


def run_on(recipe, work, tmp_path, until):
    """Continue a finished run in a copy of its work folder."""
    copy = shutil.copytree(work, tmp_path / "work")
    return Done(copy, run(recipe, copy, runtime=RUNTIME, until=until))


def logits(*rows):
    """Return logits of one row of pixels, a list for each class."""
    return torch.tensor(rows, dtype=torch.float32)[:, None]


def test_no_pixel_gets_a_class_that_is_no_tag():
    """Class 1 is best everywhere and no tag; of 0 and 2 the better one is taken."""
    scores = logits([0.0, 2.0, 1.0], [9.0, 9.0, 9.0], [1.0, 0.0, 1.0])
    image = torch.zeros(1, 3, 3, dtype=torch.uint8)
    plain, cpu = SecondRound(crf="none"), torch.device("cpu")
    found = tagged_labels(scores, (2,), image, plain, cpu)
    assert found.tolist() == [[2, 0, 0]]  # of equal ones the first: background
    assert tagged_labels(scores, (), image, plain, cpu).unique().tolist() == [0]


def test_a_crf_moves_labels_to_edges_at_any_size():
    """A pixel in doubt takes the side of its colour, also where the CRF is coarser."""
    image = torch.zeros(16, 16, 3, dtype=torch.uint8)
    image[:, 8:] = 255
    scores = torch.zeros(2, 16, 16)
    scores[0, :, :8], scores[1, :, 8:] = 3.0, 3.0
    scores[0, 4, 12] = 5.0  # a hole
    truth = (image[..., 0] > 0).to(torch.uint8)
    for shrink in (1, 2):
        settings = SecondRound(crf_shrink=shrink)
        found = tagged_labels(scores, (1,), image, settings, torch.device("cpu"))
        assert torch.equal(found, truth)
    noise = torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8)
    fine, coarse = (
        tagged_labels(
            scores,
            (1,),
            noise,
            SecondRound(crf="seeds", crf_shrink=shrink),
            torch.device("cpu"),
        )
        for shrink in (1, 2)
    )
    assert not torch.equal(fine, coarse)
    rough = tagged_labels(
        scores, (1,), image, SecondRound(crf="none"), torch.device("cpu")
    )
    assert not torch.equal(rough, truth)


def test_a_second_round_costs_no_new_vote_and_no_new_first_round(load, finished):
    assert todo(load(TABLE), finished.work) == BOTH
    assert "relabel" not in {s.stage for s in plan(load(), finished.work)}


@pytest.mark.parametrize(
    "change",
    ["scales=[0.5,1.0]", "flip=false", "crf=deeplab", "precision=bf16"],
)
def test_each_knob_makes_new_labels_and_leaves_the_first_round(
    twice_file, twice, tmp_path, change
):
    changed = load_recipe(twice_file, [f"segment.second_round.{change}"])
    assert todo(changed, twice.work) == BOTH
    other = run_on(changed, twice.work, tmp_path, "relabel")
    assert other.folder("segment").name == twice.folder("first_round").name
    if change != "precision=bf16":  # which need not change a label
        one, two = (
            LabelFolder(each.folder("relabel") / "labels") for each in (twice, other)
        )
        assert any(not torch.equal(one[name], two[name]) for name in one)


def test_labels_are_those_of_the_first_segmenter_among_the_tags(
    load, finished, tmp_path
):
    """And their support is that of the voters who agree with them."""
    made = run_on(load(TABLE), finished.work, tmp_path, "relabel")
    assert made.folder("segment").name == finished.folder("segment").name
    network = load_segmenter(finished.folder("segment")).network
    labels = LabelFolder(made.folder("relabel") / "labels")
    support = LabelFolder(made.folder("relabel") / "support")
    index = Index(finished.folder("index"), load().data.root)
    voters = [
        LabelFolder(finished.folder("voters", name, "seed") / "labels")
        for name in finished.record["artifacts"]["voters"]
    ]
    assert sorted(labels) == sorted(image.name for image in index.split("train"))
    for image in index.split("train"):
        with torch.no_grad():
            pixels = torch.from_numpy(read_indexed(index, image)).permute(2, 0, 1) / 255
            logits = torch.nn.functional.interpolate(
                network(pixels[None]),
                (image.height, image.width),
                mode="bilinear",
                align_corners=False,
            )[0].clone()
        logits[[k for k in range(1, len(logits)) if k not in image.tags]] = -1e9
        assert torch.equal(labels[image.name].long(), logits.argmax(0))
        ballots = torch.stack([voter[image.name] for voter in voters])
        expected = count_support(labels[image.name], ballots)
        assert torch.equal(support[image.name], expected)


def test_the_second_round_begins_where_the_first_ended(twice_file, twice, tmp_path):
    still = load_recipe(twice_file, ["segment.learning_rate=1e-12"])
    made = run_on(still, twice.work, tmp_path, "retrain")
    weights = read_weights(made.folder("segment") / "weights.safetensors")
    begun = read_weights(made.folder("first_round") / "weights.safetensors")
    learnt = [key for key in weights if "running" not in key and "num_b" not in key]
    assert all(torch.allclose(weights[k], begun[k], atol=1e-6) for k in learnt)
    moved = read_weights(twice.folder("segment") / "weights.safetensors")
    assert any(not torch.allclose(moved[k], begun[k], atol=1e-6) for k in learnt)


def test_scores_tell_of_the_second_round(twice):
    found = {(s["stage"], s["subject"]): s["protocol"] for s in twice.record["scores"]}
    relabelled = found["relabel", "segmenter"]
    assert relabelled["split"] == "train"
    assert relabelled["tags_at_test"] is True
    assert (relabelled["crf"], relabelled["flip"]) == ("none", True)
    assert relabelled["uses_truth"] is False
    predicted = found["predict", "plain"]
    assert predicted["rounds"] == 2
    assert predicted["tags_at_test"] is False
    assert "second round" in protocol_words(predicted)
    assert "second round" not in protocol_words(relabelled)
    page = twice.folder("report").read_text()
    assert "Relabelled" in page
    assert "by the segmenter" in page


def test_relabelled_masks_are_exported_and_reviewed(twice):
    maps = open_maps(Source(twice.summary, subject="relabel"), runtime=RUNTIME)
    assert len(maps.names) == 8
    gallery = open_gallery(twice.summary, runtime=RUNTIME)
    support = LabelFolder(twice.folder("relabel") / "support")
    for unanimous, image in gallery.entries:
        assert unanimous == pytest.approx((support[image.name] == 4).float().mean())


@pytest.mark.parametrize(
    ("until", "made"), [("segment", set()), ("relabel", {"relabel"})]
)
def test_until_stops_in_between_and_predicts_nothing(
    load, finished, tmp_path, until, made
):
    """Although the first round has predictions already."""
    done = run_on(load(TABLE), finished.work, tmp_path, until)
    stages = {each["stage"] for each in done.record["stages"]}
    assert stages & {"relabel", "retrain", "predict"} == made
    assert not [s for s in done.record["scores"] if s["stage"] == "predict"]
    assert done.folder("segment").name == finished.folder("segment").name


def test_stages_have_an_order(twice_file, tmp_path):
    recipe = load_recipe(twice_file)
    stages = list(dict.fromkeys(step.stage for step in plan(recipe, tmp_path)))
    order = ["vote", "segment", "relabel", "retrain", "predict"]
    assert [each for each in stages if each in order] == order


def test_one_word_switches_it(twice_file, load):
    off = load_recipe(twice_file, ["segment.second_round=false"])
    assert off.segment.second_round is None
    assert load("segment.second_round=true").segment.second_round == SecondRound()
    with pytest.raises(RecipeError, match=r"segment\.second_round"):
        load("segment.second_round=twice")


def test_a_changed_image_is_told(load, world, tmp_path):
    """Its size was that of the voters' labels."""
    root = shutil.copytree(world, tmp_path / "world")
    work = tmp_path / "work"
    recipe = load(f"data.root={root}", TABLE)
    run(recipe, work, runtime=RUNTIME, until="segment")
    index = Index(next((work / "index").iterdir()), root)
    image = index.split("train")[0]
    with Image.open(index.path(image)) as picture:
        smaller = picture.resize((40, 40))
    network = load_segmenter(next((work / "segment").iterdir())).network
    smaller.save(index.path(image))
    with pytest.raises(DatasetError, match=image.name):
        relabel.run(index, network, [], SecondRound(), tmp_path, runtime=RUNTIME)


KILLS = (
    ("relabel", 1, "after"),  # support without labels
    ("relabel", 5, "before"),
    ("retrain", 2, "before"),
    ("retrain", 3, "after"),
)


def test_killed_in_the_second_round_and_run_again(twice, twice_file, tmp_path):
    kills = [("files", *kill) for kill in KILLS]
    driven = run_with_faults(twice_file, tmp_path / "work", [*kills, ALONE])
    assert driven.statuses == [-9] * len(kills) + [0]
    check_whole(tmp_path / "work", results(twice.work))


def test_the_truth_is_not_labelled_anew(load):
    with pytest.raises(RecipeError, match=r"to false, and double segment\.steps"):
        load(TABLE, "segment.labels=truth")
