"""The README's Python runs as it stands."""

import re
from pathlib import Path

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
