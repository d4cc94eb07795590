"""Marked images leave the train split, and that is another index."""

import shutil

import pytest

from tag2mask import load_recipe, plan
from tag2mask.data.review import Mark, ReviewFile
from tag2mask.errors import DatasetError
from tag2mask.stages import index


@pytest.fixture
def copied(world, tmp_path):
    """A copy of the world, to be marked."""
    return shutil.copytree(world, tmp_path / "world")


@pytest.fixture
def load_copied(recipe_file, copied):
    return lambda *more: load_recipe(recipe_file, [f"data.root={copied}", *more])


def names(recipe, split):
    images = index.list_images(recipe.data).images
    return [image.name for image in images if image.split == split]


def keys(recipe, work):
    return {
        (step.stage, step.subject): step.artifact.key for step in plan(recipe, work)
    }


def tags_of(recipe, name):
    images = index.list_images(recipe.data).images
    return next(image.tags for image in images if image.name == name)


def test_review_marks_change_the_next_plan(load_copied, copied, tmp_path):
    recipe = load_copied()
    before = keys(recipe, tmp_path)
    marks = ReviewFile(copied / "review.jsonl")
    marks.append(Mark("train_00003", "leave_out", ()))
    after = keys(recipe, tmp_path)
    assert after.keys() == before.keys()
    assert all(after[step] != before[step] for step in before)
    assert (
        keys(load_copied("data.review="), tmp_path)["index", ""] == before["index", ""]
    )
    marks.append(Mark("train_00003", "keep", ()))
    assert keys(recipe, tmp_path) == before


def test_left_out_images_are_told(load_copied, copied):
    recipe = load_copied()
    train = names(recipe, "train")
    marks = ReviewFile(copied / "review.jsonl")
    marks.append(Mark(train[0], "leave_out", ()))
    marks.append(Mark(train[1], "wrong_tags", tags_of(recipe, train[1])))
    assert names(recipe, "train") == train[2:]
    notes = index.list_images(recipe.data).notes
    assert "2 images are marked in review.jsonl: left out" in notes


def test_wrong_tags_that_were_mended_count_no_longer(load_copied, copied):
    recipe = load_copied()
    train = names(recipe, "train")
    marks = ReviewFile(copied / "review.jsonl")
    marks.append(Mark(train[1], "wrong_tags", ("something else",)))
    assert names(recipe, "train") == train


def test_unseen_images_stay_whatever_is_said(load_copied, copied):
    recipe = load_copied()
    val = names(recipe, "val")
    ReviewFile(copied / "review.jsonl").append(Mark(val[0], "leave_out", ()))
    assert names(recipe, "val") == val


def test_another_file_is_honoured_where_the_recipe_names_it(load_copied, tmp_path):
    elsewhere = tmp_path / "mine" / "marks.jsonl"
    recipe = load_copied(f"data.review={elsewhere}")
    train = names(recipe, "train")
    ReviewFile(elsewhere).append(Mark(train[0], "leave_out", ()))
    assert names(recipe, "train") == train[1:]
    assert names(load_copied(), "train") == train


def test_classes_stay_when_their_last_image_leaves(load_copied, copied):
    recipe = load_copied("data.classes=classes.txt")
    before = index.list_images(recipe.data).class_names
    ReviewFile(copied / "review.jsonl").append(Mark("train_00000", "leave_out", ()))
    assert index.list_images(recipe.data).class_names == before


def test_what_cannot_be_honoured_is_a_problem_of_the_data(load_copied, copied):
    recipe = load_copied()
    (copied / "review.jsonl").write_text("nonsense\n")
    with pytest.raises(DatasetError, match=r"review.jsonl, line 1: expected an object"):
        plan(recipe, copied / "work")
    (copied / "review.jsonl").unlink()
    marks = ReviewFile(copied / "review.jsonl")
    for name in names(recipe, "train"):
        marks.append(Mark(name, "leave_out", ()))
    with pytest.raises(DatasetError, match="leaves out every image of the train split"):
        plan(recipe, copied / "work")
