"""The README's Python runs as it stands."""

import re
import tomllib
from pathlib import Path

import pytest

import fakes
from tag2mask.config import load_data
from tag2mask.stages import index

README = Path(__file__).parents[1] / "README.md"


def test_python_example_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(README), "exec"), {})
    assert [path.name for path in sorted(Path("masks").iterdir())] == [
        "classes.json",
        "predict.json",
        "val_00000.png",
    ]


def test_every_shipped_recipe_is_named_somewhere():
    recipes = (README.parent / "recipes").glob("*.toml")
    told = README.read_text() + (README.parent / "CHANGELOG.md").read_text()
    assert all(recipe.stem in told for recipe in recipes)


def folder(root):
    fakes.write_picture(root / "images" / "a.jpg")
    fakes.write_mask(root / "masks" / "a.png", 1)
    (root / "tags.csv").write_text("image,tags\na,cat\n")


def coco(root):
    fakes.write_coco(root)
    fakes.write_mask(root / "masks" / "COCO_val2014_000000000042.png", 3)


FAKES = {
    "folder": folder,
    "json": fakes.write_json_table,
    "class_folders": fakes.write_class_folders,
    "voc": fakes.write_voc,
    "coco": coco,
    "multi_hot": fakes.write_multi_hot,
    "label_studio": fakes.write_label_studio,
    "cvat": fakes.write_cvat,
    "image_folder": fakes.write_image_folder,
    "fiftyone": fakes.write_fiftyone,
}
ROWS = re.findall(r"^\| `(\w+)` \|.*\| (`.*`) \|$", README.read_text(), flags=re.M)


def test_table_of_layouts_is_complete():
    assert [layout for layout, _ in ROWS] == list(FAKES)


@pytest.mark.parametrize(("layout", "cell"), ROWS)
def test_recipe_lines_of_a_layout_read_its_fake(tmp_path, layout, cell):
    FAKES[layout](tmp_path)
    keys = tomllib.loads("\n".join(re.findall("`(.*?)`", cell)))
    data = load_data(keys | {"root": str(tmp_path)})
    assert data.layout == layout
    listing = index.list_images(data)
    assert listing.problems == ()
    assert len(index.fingerprint(data, listing)) == 12
