import json
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from tag2mask.config import (
    Classifier,
    Evaluate,
    Recipe,
    Seeding,
    Segment,
    find_recipe,
    load_recipe,
    resolved,
)
from tag2mask.config.study_load import load_study
from tag2mask.errors import RecipeError

SHIPPED = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
TEXT = """
[data]
root = "photos"

[voters.small]
backbone = "resnet10t"
dropout = [0.1]

[voters.small.seed]
background = 0.3
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def complaint(recipe, *overrides):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides)
    first, *lines = str(caught.value).split("\n")
    assert first == f"{recipe} is not a recipe:"
    return [line.removeprefix("  ") for line in lines]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipe_loads_by_name(path):
    assert load_recipe(Path(path.stem)) == load_recipe(path)


def test_there_are_shipped_recipes():
    assert "toy" in [path.stem for path in SHIPPED]


def test_unknown_recipe_names_the_shipped_ones(tmp_path):
    with pytest.raises(RecipeError, match=r"there is no recipe toi; .*\btoy\b"):
        find_recipe(Path("toi"))
    with pytest.raises(RecipeError, match="there is no recipe"):
        find_recipe(tmp_path / "toy")


def test_file_wins_over_a_shipped_recipe_of_its_name(recipe, monkeypatch):
    monkeypatch.chdir(recipe.parent)
    recipe.rename("toy")
    assert load_recipe(Path("toy")).data.root == Path("photos")


def test_byte_order_mark_does_not_matter(recipe):
    recipe.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert load_recipe(recipe).data.root == Path("photos")


@pytest.mark.parametrize("content", [b"[data\n", b"\xff\xfe"])
def test_what_is_not_toml_names_the_file(recipe, content):
    recipe.write_bytes(content)
    with pytest.raises(RecipeError, match=rf"{recipe.name} is not TOML: \S"):
        load_recipe(recipe)


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("segment.steps=7", lambda r: r.segment.steps, 7),
        ("segment.tau = 0.5", lambda r: r.segment.tau, 0.5),
        ("segment.clip_norm=1", lambda r: r.segment.clip_norm, 1.0),
        ("predict.flip=true", lambda r: r.predict.flip, True),
        ("predict.scales=[1, 1.5]", lambda r: r.predict.scales, (1.0, 1.5)),
        ("predict.scales=2", lambda r: r.predict.scales, (2.0,)),
        ("voters.small.dropout=0", lambda r: r.voters["small"].dropout, (0.0,)),
        ("data.root=../x y", lambda r: r.data.root, Path("../x y")),
        ('data.root="a=b"', lambda r: r.data.root, Path("a=b")),
        ("data.root=a=b", lambda r: r.data.root, Path("a=b")),
        ("data.root=Bäume 🌳", lambda r: r.data.root, Path("Bäume 🌳")),
        ("data.root=C:\\x", lambda r: r.data.root, Path("C:\\x")),
        ("data.root=x # y", lambda r: r.data.root, Path("x # y")),
        ("data.root=x\n[segment]", lambda r: r.data.root, Path("x\n[segment]")),
        ("data.root=2024-01-02", lambda r: r.data.root, Path("2024-01-02")),
        ("data.images=", lambda r: r.data.images, ""),
        ("data.classes=names.txt", lambda r: r.data.classes, "names.txt"),
        ('data.classes=["a","b"]', lambda r: r.data.classes, ("a", "b")),
        (
            "voters.small.cam.contrast=true",
            lambda r: r.voters["small"].cam.contrast,
            True,
        ),
        ("voters.small.cam.flip=false", lambda r: r.voters["small"].cam.flip, False),
    ],
)
def test_override_is_toml_and_otherwise_text(recipe, override, read, expected):
    assert read(load_recipe(recipe)) != expected
    assert read(load_recipe(recipe, [override])) == expected


def test_last_override_wins_and_leaves_its_neighbours(recipe):
    loaded = load_recipe(recipe, ["voters.small.steps=1", "voters.small.steps=2"])
    assert loaded.voters["small"].steps == 2
    assert loaded.voters["small"].backbone == "resnet10t"


def test_override_may_open_a_table(recipe):
    assert load_recipe(recipe, ["voters.new.batch=3"]).voters["new"].batch == 3


def test_table_as_override_replaces_the_table(recipe):
    loaded = load_recipe(recipe, ["voters.small.seed={}"])
    assert loaded.voters["small"].seed == Seeding()


@pytest.mark.parametrize("override", ["segment.steps", "=3", " = 3"])
def test_override_without_key_or_value(recipe, override):
    with pytest.raises(RecipeError, match=r"--set expects KEY=VALUE, got '"):
        load_recipe(recipe, [override])


def test_override_of_what_is_no_key(recipe):
    with pytest.raises(RecipeError, match="--set: 'a b' is not a key such as segment"):
        load_recipe(recipe, ["a b=3"])


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "segment.min_suport=1",
            "segment.min_suport: there is no such key; did you mean 'min_support'?",
        ),
        ("voter.a.steps=1", "voter: there is no such key; did you mean 'voters'?"),
        (
            "voters.small.seed.crf_shrnk=1",
            "voters.small.seed.crf_shrnk: there is no such key; did you mean "
            "'crf_shrink'?",
        ),
        (
            "data.tau=1",
            "data.tau: there is no such key; did you mean "
            "voters.NAME.saliency.tau or segment.tau?",
        ),
        (
            "voters.small.bootstrap=1",
            "voters.small.bootstrap: there is no such key; did you mean "
            "evaluate.bootstrap?",
        ),
        (
            "alpha=1",
            "alpha: there is no such key; did you mean voters.NAME.seed.alpha or",
        ),
        ("qqq=1", "qqq: there is no such key"),
        (
            "segment={init_from='small', backbone='resnet10t', "
            "backbone_options={mean=0.4}}",
            "segment.init_from: voter 'small' has backbone_options none, the segmenter",
        ),
        ("segment.init_from=big", "segment.init_from names no voter: 'big'; there are"),
        (
            "segment.init_from=small",
            "segment.init_from: voter 'small' has the backbone resnet10t",
        ),
        ("segment.steps=0", "segment.steps: Input should be greater than 0"),
        ("segment.steps=2.5", "segment.steps: Input should be a valid integer"),
        ("segment.steps='2'", "segment.steps: Input should be a valid integer"),
        ("segment.tau=inf", "segment.tau: Input should be a finite number"),
        ("predict.flip=1", "predict.flip: Input should be a valid boolean"),
        (
            "voters.small.dropout=1",
            "voters.small.dropout: Input should be less than 1",
        ),
        (
            "voters.small.dropout=[0.5, 1]",
            "voters.small.dropout[1]: Input should be less than 1",
        ),
        (
            "voters.small.dropout=[0.5, 0.5]",
            "voters.small.dropout: a value is named twice: 0.5, 0.5",
        ),
        ("predict.scales=[]", "predict.scales: "),
        (
            "segment.output_stride=4",
            "segment.output_stride: Input should be 8, 16 or 32",
        ),
        ("segment.min_support=256", "segment.min_support: Input should be less than"),
        ("segment.rescale=[2, 1]", "segment: rescale must ascend, got [2.0, 1.0]"),
        ('data.splits={val="train"}', "data.splits: train and val must differ"),
        (
            "data.classes=3",
            "data.classes: Input should be a valid string; or Input should be a valid",
        ),
        (
            "segment.backbone_options={a=[1]}",
            "segment.backbone_options.a: Input should be a valid string; or ",
        ),
        (
            "voters.small.seed.alpha=1",
            "voters.small.seed: give either alpha or background",
        ),
        ('voters."a b".steps=1', "voters.a b: String should match pattern"),
        ("data=3", "data: Input should be an object"),
        ("segment.accumulate=3", "segment: accumulate (3) must divide batch (10)"),
        (
            "segment.network=segfromer",
            "segment.network: there is no network 'segfromer'; did you mean 'segform",
        ),
        (
            "segment={network='segformer', backbone='resnet50'}",
            "segment.backbone: there is no such key with this method, adapter or",
        ),
        (
            "segment={network='segformer', variant='b7'}",
            "segment.variant: Input should",
        ),
        (
            "segment.min_support=3",
            "segment.min_support (3) is more than there are voters (2)",
        ),
        ("voters={}", "no voter: add a table such as [voters.classifier]"),
    ],
)
def test_complaint_names_the_key_as_the_user_typed_it(recipe, override, line):
    (found,) = complaint(recipe, override)
    assert found.startswith(line)


def test_missing_key_is_named(recipe):
    assert complaint(recipe, "data={}") == ["data.root: Field required"]


def test_complaints_come_together(recipe):
    assert len(complaint(recipe, "segment.steps=0", "data.rot=1", "x=2")) == 3


def test_truth_needs_no_voter(recipe):
    loaded = load_recipe(recipe, ["voters={}", "segment.labels=truth"])
    assert loaded.voters == {}


def test_number_of_voters_is_the_grid(recipe):
    grid = ["voters.small.dropout=[0.1, 0.2]", "voters.small.scales=[1, 2, 3]"]
    assert load_recipe(recipe, [*grid, "segment.min_support=6"])
    assert "(6)" in complaint(recipe, *grid, "segment.min_support=7")[0]


@pytest.mark.parametrize(
    ("table", "alpha", "background"),
    [
        ({}, "otsu", None),
        ({"background": 0.3}, None, 0.3),
        ({"alpha": 4.0}, 4.0, None),
        ({"alpha": "agreement"}, "agreement", None),
        ({"alpha": "oracle"}, "oracle", None),
    ],
)
def test_background_score_is_alpha_or_a_constant(table, alpha, background):
    seeding = Seeding(**table)
    assert (seeding.alpha, seeding.background) == (alpha, background)


def test_recipe_is_frozen(recipe):
    loaded = load_recipe(recipe)
    with pytest.raises(ValidationError, match="frozen"):
        loaded.segment.steps = 1


def test_resolved_recipe_is_the_same_recipe(recipe):
    loaded = load_recipe(recipe, ["predict.scales=[1, 1.5]"])
    text = json.dumps(resolved(loaded), allow_nan=False)
    assert Recipe.model_validate_json(text) == loaded
    assert '"root": "photos"' in text


def test_defaults_are_those_of_their_sources():
    # docs of the paper: p in {0.05, 0.10, 0.20, 0.30}, s in {1.0, 1.2}, SGD without
    # momentum, lr 0.01, poly 0.9, weight decay 5e-4, crop 448, batch 8, 20,000 steps
    voter = Classifier()
    assert voter.dropout == (0.05, 0.10, 0.20, 0.30)
    assert voter.scales == (1.0, 1.2)
    assert (voter.optimizer, voter.momentum, voter.learning_rate) == ("sgd", 0, 0.01)
    assert (voter.schedule, voter.power, voter.weight_decay) == ("poly", 0.9, 5e-4)
    assert (voter.crop, voter.batch, voter.steps) == (448, 8, 20_000)
    assert (voter.output_stride, voter.head_factor) == (8, 10)
    assert voter.freeze_batch_norm
    assert voter.seed.alpha == "otsu"  # the paper tells none
    segment = Segment()
    # tau 1 collapses on short schedules: 0.1 with complements among absent classes
    assert (segment.tau, segment.complement) == (0.1, "absent")
    assert (segment.weight_from, segment.min_support) == ("constrained", 2)
    assert (Evaluate().cam_threshold, Evaluate().boundary_ratio) == (0.15, 0.02)


def test_network_alone_brings_the_settings_of_its_preset(recipe):
    segformer = load_recipe(recipe, ["segment.network=segformer"]).segment
    assert (segformer.variant, segformer.weights, segformer.crop) == ("b2", "hub", 512)
    assert (segformer.optimizer, segformer.learning_rate) == ("adamw", 6e-5)
    assert (segformer.head_factor, segformer.weight_decay) == (10, 0.01)
    assert (segformer.schedule, segformer.power, segformer.warmup) == ("poly", 1, 1500)
    mask2former = load_recipe(recipe, ["segment.network=mask2former"]).segment
    assert (mask2former.variant, mask2former.crop) == ("swin-large", 512)
    assert (mask2former.optimizer, mask2former.weight_decay) == ("adamw", 0.05)
    # 1e-4, the encoder a tenth of it
    assert mask2former.learning_rate * mask2former.head_factor == pytest.approx(1e-4)
    assert (mask2former.learning_rate, mask2former.power) == (1e-5, 0.9)


def test_another_kind_of_network_leaves_what_the_file_says_of_its_own():
    toy = load_recipe("toy").segment
    assert load_recipe("toy", ["segment.network=deeplab_v1"]).segment == (
        toy.model_copy(update={"network": "deeplab_v1"})
    )
    changes = ["segment.steps=7", "segment.network=segformer", "segment.batch=3"]
    changed = load_recipe("toy", changes).segment
    assert (changed.steps, changed.batch) == (7, 3)
    assert changed.min_support == toy.min_support == 3
    assert changed.loss_stride == toy.loss_stride == 2
    assert changed.crop == 512
    back = load_recipe("toy", [*changes, "segment.network=deeplab_v2"]).segment
    assert back.rates == toy.rates


@pytest.mark.parametrize("network", ["segformer", "mask2former"])
def test_resolved_table_of_a_network_is_the_same_table(recipe, network):
    loaded = load_recipe(
        recipe, [f"segment.network={network}", "segment.options={a=1,b=[2],c=0.5,d=''}"]
    )
    assert Recipe.model_validate_json(json.dumps(resolved(loaded))) == loaded


def test_shipped_recipes_say_cost_and_command_in_their_header():
    for path in SHIPPED:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), path
        assert tomllib.loads(path.read_text(encoding="utf-8"))["data"], path


def test_absent_layout_is_a_folder(recipe):
    assert load_recipe(recipe) == load_recipe(recipe, ["data.layout=folder"])
    assert load_recipe(recipe, ["data.layout=voc"]).data.images == "JPEGImages"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["data.layout=vco"],
            "data.layout: there is no layout 'vco'; did you mean 'voc'? choose ",
        ),
        (
            ["data.layout=xyz"],
            "data.layout: there is no layout 'xyz'; choose 'folder', ",
        ),
        (["data.layout=3"], "data.layout: there is no layout '3'; choose "),
        (
            ["data.layout=voc", "data.lists.train=3"],
            "data.lists.train: Input should be a valid string",
        ),
        (
            ["data.layout=voc", "data.lists.vla=x"],
            "data.lists.vla: there is no such key; did you mean 'val'?",
        ),
        (
            ["data.layout=voc", "data.tags=tags.csv"],
            "data.tags: layout 'voc' has no such key; its keys are root, masks, ",
        ),
        (
            ["data.difficult=false"],
            "data.difficult: layout 'folder' has no such key; its keys are root, ",
        ),
        (["data={layout='voc'}"], "data.root: Field required"),
    ],
)
def test_complaint_about_a_layout_names_the_key_as_typed(recipe, overrides, line):
    (found,) = complaint(recipe, *overrides)
    assert found.startswith(line)


def test_masks_of_a_layout_may_be_none(recipe):
    voc = ["data.layout=voc"]
    assert load_recipe(recipe, voc).data.masks == "SegmentationClass"
    without = load_recipe(recipe, [*voc, "data.masks="])
    assert without.data.masks is None
    assert resolved(without)["data"]["masks"] == ""
    assert Recipe.model_validate_json(json.dumps(resolved(without))) == without


def test_resolved_folder_has_the_keys_it_always_had(recipe):
    """They are hashed: another key would make every run and report another."""
    assert resolved(load_recipe(recipe))["data"] == {
        "layout": "folder",
        "root": "photos",
        "images": "images",
        "tags": "tags.csv",
        "masks": None,
        "classes": None,
        "splits": {"train": "train", "val": "val"},
        "skip_bad": False,
        "review": "review.jsonl",
    }


def test_classes_of_multi_hot_must_be_named(recipe):
    lines = complaint(recipe, "data.layout=multi_hot")
    assert lines == ["data.classes: Field required"]


@pytest.mark.parametrize("layout", ["coco", "class_folders", "json"])
def test_layouts_need_their_root_only(recipe, layout):
    loaded = load_recipe(recipe, [f"data={{layout='{layout}', root='x'}}"])
    assert loaded.data.layout == layout
    assert Recipe.model_validate_json(json.dumps(resolved(loaded))) == loaded


def test_half_of_a_coco_split_is_told(recipe):
    lines = complaint(recipe, "data.layout=coco", "data.val={images='x'}")
    assert lines[0].startswith("data.val.annotations: Field required")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "9" * 5000, "is not TOML"),
        ("a = " + "[" * 9000, "is not TOML"),
        ("a = 0x" + "f" * 5000, "Exceeds the limit"),
    ],
)
def test_numbers_and_lists_without_end_are_told(tmp_path, text, said):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    for load_it in (load_recipe, load_study):
        with pytest.raises(RecipeError, match=said):
            load_it(path)


def test_an_override_of_a_comment_is_told(load):
    with pytest.raises(RecipeError, match="'#a' is not a key"):
        load("#a=1")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 9000])
def test_an_override_without_end_is_taken_as_text(load, value):
    with pytest.raises(RecipeError, match=r"segment\.steps"):
        load(f"segment.steps={value}")
