"""Every shipped recipe can be planned on data in its own layout."""

import shutil
from pathlib import Path

import pytest

import fakes
from tag2mask import load_recipe, plan

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))


def data(recipe, root, world):
    """Write what a recipe's layout expects below ``root``; return overrides."""
    match recipe.data.layout:
        case "voc":
            fakes.write_voc(root)
            return []
        case "coco":
            fakes.write_coco(root)
            (root / recipe.data.masks).mkdir()
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
    return (recipe.voters[name] if name else recipe.segment).weights


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


def test_caffe_preset_has_its_groups_and_its_losses():
    segment = load_recipe("voc12-deeplab-v2-caffe").segment
    # heads 10 times, their biases 20 times the rate of the backbone
    assert segment.head_factor == 10
    assert segment.head_factor * segment.bias_factor == 20
    assert (segment.learning_rate, segment.crop) == (2.5e-4, 321)
    assert segment.loss_scales == (1.0, 0.75, 0.5)


@pytest.mark.parametrize("name", ["voc12-ca-cl", "coco14-ca-cl"])
def test_ca_cl_ends_at_its_least_rate(name):
    segment = load_recipe(name).segment
    assert segment.learning_rate * segment.last_factor == pytest.approx(1e-4)
