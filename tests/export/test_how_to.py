"""The commands and the code of the how-to pages run as they stand."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import fakes
from tag2mask.export import onnx_model
from tag2mask.models import hub

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def commands(page):
    """Yield what the page's console blocks call of us."""
    blocks = re.findall(r"```console\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    for block in blocks:
        for line in block.splitlines():
            if line.startswith("tag2mask "):
                yield line


@pytest.fixture
def follow(call_cli, tmp_path, finished, world, exported, monkeypatch):
    """Run a page's commands in a folder where what they start from is."""
    monkeypatch.chdir(tmp_path)
    for work, name in (("work/demo", "toy"), ("work", "my-recipe")):
        target = tmp_path / work
        shutil.copytree(finished.work, target, dirs_exist_ok=True)
        (run,) = (target / "runs").glob("tiny-*")
        run.rename(run.with_name(run.name.replace("tiny", name)))
    shutil.copytree(world / "images", tmp_path / "photos")
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: "hub-folder")

    def export(_model, out, **_):
        shutil.copyfile(exported.path, out)
        return exported._replace(path=out)

    # the exporter takes seconds, and has tests of its own
    monkeypatch.setattr(onnx_model, "export_onnx", export)

    def run(page, **before):
        for line in commands(page):
            before.get(line.split()[2].replace("-", "_"), lambda: None)()
            _, *words = shlex.split(line)
            words = [
                str(path)
                for word in words
                for path in (sorted(tmp_path.glob(word)) if "*" in word else [word])
            ]
            code, _, error = call_cli(*words)
            assert code == 0, (line, error)

    return run


def test_export(follow, finished, tmp_path):
    labels = finished.folder("vote") / "labels"
    names = json.loads((finished.folder("index") / "classes.json").read_text())

    def masks():
        if not Path("masks").exists():
            shutil.copytree(labels, "masks")
            Path("masks/classes.json").write_text(json.dumps(names))

    def hub_name():
        if Path("hub-folder").exists():  # what was predicted before is another model's
            shutil.rmtree("masks")

    follow("export.md", masks=masks, **{"hub:OWNER/NAME": hub_name})
    assert (tmp_path / "coco" / "instances.json").exists()
    assert (tmp_path / "voc" / "labelmap.txt").exists()
    assert len(list((tmp_path / "masks").glob("*.png"))) == 12


def test_deploy(follow, tmp_path):
    follow("deploy-without-torch.md")
    assert len(list((tmp_path / "masks").glob("*.png"))) == 12
    page = (PAGES / "deploy-without-torch.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(code, "deploy-without-torch.md", "exec"), {})
    assert (tmp_path / "seen.png").exists()
    assert (tmp_path / "mask.png").exists()


def test_label_studio(follow, finished, tmp_path):
    fakes.write_label_studio(tmp_path / "my-data")
    shutil.copytree(finished.folder("vote") / "labels", tmp_path / "masks")
    names = json.loads((finished.folder("index") / "classes.json").read_text())
    (tmp_path / "classes.txt").write_text("\n".join(names[1:]))

    def corrected():
        tasks = json.loads(Path("to-correct/tasks.json").read_text())
        for task in tasks:
            task["annotations"] = task.pop("predictions")
        Path("corrected.json").write_text(json.dumps(tasks))

    follow("label-studio.md", label_studio_masks=corrected)
    drawn = sorted(p.name for p in (tmp_path / "my-data" / "masks").glob("*.png"))
    assert drawn == sorted(p.name for p in (tmp_path / "masks").glob("*.png"))
