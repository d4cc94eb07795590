"""The review over HTTP: order, filters, pictures and marks."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from tag2mask import load_recipe, plan
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.data.review import ReviewFile


@pytest.fixture
def images(client):
    return client.get("/review/images?limit=100").json()["images"]


def picture(answer):
    assert answer.status_code == 200
    return Image.open(io.BytesIO(answer.content))


def test_least_agreement_comes_first(images, finished):
    support = LabelFolder(finished.folder("vote") / "support")
    shares = {name: (support[name] == 4).float().mean().item() for name in support}
    expected = sorted(shares, key=lambda name: (shares[name], name))
    assert [image["name"] for image in images] == expected
    assert images[0]["unanimous"] == pytest.approx(shares[expected[0]], abs=1e-4)
    assert len(set(shares.values())) > 1


def test_filters_by_class_and_pages(client, images):
    tag = images[0]["tags"][0]
    of_class = [image["name"] for image in images if tag in image["tags"]]
    found = client.get(f"/review/images?tag={tag}&offset=1&limit=1").json()
    assert found["total"] == len(of_class)
    assert [image["name"] for image in found["images"]] == of_class[1:2]
    assert client.get("/review/images?limit=101").status_code == 422


def test_every_stage_of_every_voter_has_a_layer(client, images):
    image = images[0]
    stages = [layer["stage"] for layer in image["layers"]]
    assert stages == ["vote", "clean"] + ["cam"] * 4 + ["seed"] * 4
    photo = picture(client.get("/review/photo", params={"image": image["name"]}))
    assert (photo.format, photo.size) == ("JPEG", (48, 48))
    drawn = {}
    for layer in image["layers"]:
        query = {"image": image["name"], "layer": layer["name"]}
        answer = client.get("/review/layer", params=query)
        assert picture(answer).format == "PNG"
        drawn[layer["name"]] = answer.content
    cams = {content for name, content in drawn.items() if name.startswith("cam/")}
    assert len(cams) == 4
    assert drawn["vote"] != drawn["clean"]


def test_the_vote_is_drawn_in_the_colours_of_its_classes(client, images, finished):
    name = images[0]["name"]
    query = {"image": name, "layer": "vote"}
    drawn = np.array(picture(client.get("/review/layer", params=query)).convert("RGBA"))
    labels = LabelFolder(finished.folder("vote") / "labels")[name].numpy()
    colours = [each["colour"] for each in client.get("/review").json()["classes"]]
    for number in np.unique(labels[labels != 255]):
        expected = [int(colours[number][at : at + 2], 16) for at in (1, 3, 5)]
        expected.append(255 if number else 0)
        assert np.all(drawn[labels == number] == expected)


@pytest.mark.parametrize(
    "query",
    [
        {"image": "../../tags"},
        {"image": "val_00000"},  # kept unseen
        {"image": "train_00000", "layer": "seed/../vote"},
        {"image": "train_00000", "layer": "nonsense"},
    ],
    ids=str,
)
def test_what_is_not_there_is_not_found(client, query):
    path = "/review/layer" if "layer" in query else "/review/photo"
    assert client.get(path, params=query).status_code == 404


@pytest.fixture
def marked(finished, world, recipe_file, tmp_path, open_tiny, client_of):
    """A client over copies of the run and its world, and the recipe of the copies."""
    from tag2mask import Runtime, run

    root = shutil.copytree(world, tmp_path / "world")
    work = shutil.copytree(finished.work, tmp_path / "work")
    recipe = load_recipe(recipe_file, [f"data.root={root}"])
    summary = run(recipe, work, runtime=Runtime(workers=1), name="copy")
    with client_of(open_tiny(summary)) as client:
        yield client, recipe, work


def set_mark(client, image, mark):
    return client.post("/review/marks", json={"image": image, "mark": mark})


def test_a_mark_changes_the_next_plan_until_it_is_taken_back(marked):
    client, recipe, work = marked

    def todo():
        return [step.stage for step in plan(recipe, work, name="copy")
                if step.state != "finished"]  # fmt: skip

    assert todo() == []
    assert set_mark(client, "train_00002", "wrong_tags").status_code == 200
    assert "localize" in todo()
    (found,) = client.get("/review/images?marked=marked").json()["images"]
    assert (found["name"], found["mark"]) == ("train_00002", "wrong_tags")
    assert client.get("/review/images?marked=unmarked").json()["total"] == 7
    mark = ReviewFile(recipe.data.root / "review.jsonl").read()["train_00002"]
    classes = client.get("/review").json()["classes"]
    assert mark.tags == tuple(classes[tag]["name"] for tag in found["tags"])
    set_mark(client, "train_00002", "keep")
    assert todo() == []


def test_marks_of_strange_images_or_kinds_are_refused(client):
    assert set_mark(client, "val_00000", "leave_out").status_code == 404
    assert set_mark(client, "train_00000", "burn").status_code == 422
    text = '{"image": "train_00000", "mark": "leave_out"}'
    plain = client.post("/review/marks", content=text)  # as a form elsewhere could
    assert plain.status_code == 422


def test_a_mark_that_cannot_be_written_is_told(marked):
    client, recipe, _ = marked
    (recipe.data.root / "review.jsonl").mkdir()
    assert client.get("/review/images").status_code == 500
    answer = set_mark(client, "train_00000", "leave_out")
    assert answer.status_code == 500
    assert "cannot write" in answer.json()["detail"]
    assert "data.review" in answer.json()["detail"]
