"""Every shipped recipe can be planned on data in its own layout."""

import shutil
from pathlib import Path

import pytest

import fakes
from tag2mask import load_recipe, plan
from tag2mask.config.study_load import load_study
from tag2mask.pipeline.study import list_trials, plan_study

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))


def data(recipe, root, world):
    """Write what a recipe's layout expects below ``root``; return overrides."""
    match recipe.data.layout:
        case "voc":
            fakes.write_voc(root)
            return []
        case "coco":
            fakes.write_coco(root)
            masks = root / recipe.data.masks
            masks.mkdir()
            for image in root.glob("val*/*.jpg"):
                (masks / image.with_suffix(".png").name).touch()  # planning reads none
            return []
        case _:
            shutil.copytree(world, root)
            masks = [] if recipe.data.masks is None else ["data.masks=masks"]
            return ["data.images=images", "data.classes=classes.txt", *masks]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipe_can_be_planned(path, tmp_path, world):
    recipe = load_recipe(path)
    root = tmp_path / "data"
    changes = [f"data.root={root}", *data(recipe, root, world)]
    tables = [f"voters.{name}" for name in recipe.voters] + ["segment"]
    changes += [
        f"{table}.weights=none"
        for table in tables
        if load_weights(recipe, table) not in ("hub", "none")
    ]
    changes += [
        f"voters.{name}.prompts.classes={root / 'prompts.toml'}"
        for name, voter in recipe.voters.items()
        if getattr(voter, "prompts", None) and voter.prompts.classes
    ]
    steps = plan(load_recipe(path, changes), tmp_path / "work")
    assert [step.stage for step in steps][-1] == "report"
    assert recipe.segment.network in [
        step.subject for step in steps if step.stage == "segment"
    ]


def load_weights(recipe, table):
    name = table.partition(".")[2]
    table = recipe.voters[name] if name else recipe.segment
    return getattr(table, "weights", "none")  # a voter without training has none


MULTI_SEED = [path for path in RECIPES if "resnet38d" in path.read_text()]


@pytest.mark.parametrize("path", MULTI_SEED, ids=lambda path: path.stem)
def test_recipe_has_the_published_settings_of_multi_seed(path):
    recipe = load_recipe(path)
    (voter,) = recipe.voters.values()
    assert (voter.backbone, voter.bias_factor) == ("resnet38d", 2)
    assert (voter.dropout, voter.scales) == ((0.05, 0.1, 0.2, 0.3), (1.0, 1.2))
    assert (voter.learning_rate, voter.momentum) == (0.01, 0)
    is_coco = recipe.data.layout == "coco"
    # 30 rounds of 82,081 images by 16 are 153,902 steps
    expected = (16, 153_900) if is_coco else (8, 20_000)
    assert (voter.batch, voter.steps) == expected
    # long sides of 256 to 512 of COCO's 640 pixels, 250 to 500 of VOC's 500
    assert voter.rescale == ((0.4, 0.8) if is_coco else (0.5, 1.0))
    if is_coco:
        assert not recipe.data.untagged
    segment = recipe.segment
    assert (segment.tau, segment.complement, segment.min_support) == (1, "random", 6)
    assert segment.steps == (60_000 if is_coco else 20_000)


def test_there_are_recipes_of_each_network_and_data_set():
    found = {
        (load_recipe(path).data.layout, load_recipe(path).segment.network)
        for path in MULTI_SEED
    }
    assert found == {
        (layout, network)
        for layout in ("voc", "coco")
        for network in ("deeplab_v2", "segformer", "mask2former")
    }


@pytest.mark.parametrize(("data_set", "table"), [("voc12", 1), ("coco14", 3)])
def test_table_of_networks_is_that_of_the_recipes(data_set, table, tmp_path, world):
    study = load_study(Path(f"multi-seed-table-{table}"))
    rows = {trial.row.name: trial.recipe for trial in list_trials(study)}
    for row, recipe in (
        ("DeepLabV2, ResNet-101", "multi-seed"),
        ("SegFormer, MiT-B2", "segformer-b2"),
        ("Mask2Former, Swin-L", "mask2former-swin-l"),
    ):
        assert rows[row] == load_recipe(f"{data_set}-{recipe}")
    changes = [f"data.root={tmp_path / 'data'}", "voters.classifier.weights=none"]
    changes += data(load_recipe(study.recipe), tmp_path / "data", world)
    planned = plan_study(study, tmp_path / "work", overrides=changes)
    made = [{artifact.stage for artifact in each.todo} for each in planned]
    # four classifiers and their vote are made once, a segmenter for each row
    assert [sorted(stages & {"localize", "segment", "vote"}) for stages in made] == [
        ["localize", "segment", "vote"],
        *[["segment"]] * (len(rows) - 1),
    ]
    assert len(rows) == len(study.quoted)


def test_caffe_preset_has_its_groups_and_its_losses():
    segment = load_recipe("voc12-deeplab-v2-caffe").segment
    # heads 10 times, their biases 20 times the rate of the backbone
    assert segment.head_factor == 10
    assert segment.head_factor * segment.bias_factor == 20
    assert (segment.learning_rate, segment.crop) == (2.5e-4, 321)
    assert segment.loss_scales == (1.0, 0.75, 0.5)


@pytest.mark.parametrize(("data", "long_side"), [("voc12", 500), ("coco14", 640)])
@pytest.mark.parametrize("kind", ["ca-cl", "union"])
def test_recipe_has_the_published_settings_of_ca_cl(data, long_side, kind):
    recipe = load_recipe(f"{data}-{kind}")
    voter, segment = recipe.voters["ca_cl"], recipe.segment
    sides = (320 / long_side, 640 / long_side)
    assert voter.rescale == voter.classifier.rescale == sides
    num_images = 10_582 if data == "voc12" else 82_783 if kind == "ca-cl" else 82_081
    for table, rounds in ((voter, 20), (voter.classifier, 5)):
        assert table.steps * 16 == pytest.approx(rounds * num_images, abs=32)
    assert segment.learning_rate * segment.last_factor == pytest.approx(1e-4)
    assert segment.colour_jitter == (0.3 if kind == "union" else 0)
