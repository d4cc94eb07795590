import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tag2mask import cli
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.data.toy import write_toy_world
from tag2mask.models.weights import save_module

COMMANDS = {
    "demo": {"--work", "--device", "--workers"},
    "plan": {"--work", "--set"},
    "run": {"--work", "--set", "--until", "--device", "--workers", "--tensorboard"},
    "study": {"--work", "--recipe", "--set", "--plan", "--device", "--workers"},
    "statistics": {"--out"},
    "predict": {
        "--out", "--scales", "--flip", "--no-flip", "--crf", "--presence", "--device",
    },
    "crf": {"--out", "--preset", "--shrink", "--background", "--device", "--workers"},
    "evaluate": {"--names", "--out", "--workers"},
    "sweep": {"--names", "--out", "--workers"},
    "serve": {
        "--host", "--port", "--token-file", "--scales", "--flip", "--no-flip", "--crf",
        "--presence", "--megabytes", "--megapixels", "--body-seconds", "--queue",
        "--batch", "--label-studio", "--device", "--workers",
    },
    "submit": {"--images", "--out", "--device", "--workers"},
    "report": set(),
    "verify": {"--repair"},
    "clean": {"--yes"},
    "data": set(),
    "classes": set(),
    "export": set(),
}  # fmt: skip
SHORT = (
    "--set", "voters.a.steps=1", "--set", "voters.a.dropout=0.1",
    "--set", "voters.a.scales=1.0", "--set", "segment.steps=1",
    "--set", "segment.min_support=1", "--set", "report.panels=0",
    "--workers", "1",
)  # fmt: skip
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Outcome:
    def __init__(self, code, captured):
        self.code = code
        self.out, self.error = captured
        self.last = self.out.splitlines()[-1] if self.out else ""


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line as a user does, errors turned into messages included."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tag2mask", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        found = Outcome(caught.value.code or 0, capsys.readouterr())
        assert "Traceback" not in found.error
        return found

    return run


def fails(outcome, *parts):
    """Check for an error that a user can mend: a message and exit code 1."""
    assert outcome.code == 1
    assert outcome.error.splitlines()[-1 - outcome.error.count("\n  ")].startswith(
        "tag2mask: "
    )
    for part in parts:
        assert part in outcome.error


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, to spoil."""
    shutil.copytree(finished.work, tmp_path / "work")
    return tmp_path / "work"


def test_help_lists_the_commands():
    found = CliRunner().invoke(cli.app, ["--help"])
    assert found.exit_code == 0
    listed = re.findall(r"^│ (\w+) ", found.output, flags=re.MULTILINE)
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_lists_its_options(command):
    found = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "200"})
    assert found.exit_code == 0
    options = set(re.findall(r"(?<![\w-])--[a-z-]+", ESCAPES.sub("", found.output)))
    assert options == COMMANDS[command] | {"--help"}


def test_version_is_told():
    found = CliRunner().invoke(cli.app, ["--version"])
    assert re.fullmatch(r"tag2mask \d+\.\d+\.\d+\S*, torch \d\S*\n", found.output)


def test_help_is_told_without_torch():
    code = (
        "import sys; sys.argv = ['tag2mask', '--help']\n"
        "from tag2mask.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'PIL', 'timm', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["walk"],
        ["run"],
        ["run", "toy", "--until", "tea"],
        ["run", "toy", "--device", "tpu"],
        ["run", "toy", "--workers", "-1"],
        ["predict", "model", "images"],
        ["evaluate", "labels"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(call, arguments):
    assert call(*arguments).code == 2


def test_plan_of_a_finished_run_has_nothing_to_do(call, finished, recipe_file):
    found = call("plan", recipe_file, "--work", finished.work)
    assert found.code == 0
    assert found.last == f"0 of 33 to do in {finished.work}"
    assert found.out.count("finished") == 33


def test_plan_of_a_changed_recipe_says_what_is_to_do(call, finished, recipe_file):
    found = call("plan", recipe_file, "--work", finished.work, "--set", "random_seed=1")
    assert found.last == f"32 of 33 to do in {finished.work}"
    assert re.search(r"^segment +deeplab_v2 +[0-9a-f]{12} +to do *$", found.out, re.M)


def test_run_ends_with_the_path_of_the_summary(call, recipe_file, tmp_path):
    # brackets and colons are text, not markup
    work = tmp_path / "a [b] :smile:"
    found = call("run", recipe_file, "--work", work, *SHORT)
    assert found.code == 0
    summary = Path(found.last)
    assert summary.parents[2] == work
    record = json.loads(summary.read_text())
    for score in record["scores"]:
        row = rf"^{score['stage']} +{score['subject']} +{score['miou']:.1f} "
        assert re.search(row, found.out, re.M)
    assert "USES GROUND TRUTH" in found.out  # of the oracle threshold
    told = re.findall(r"^without masks: (.*)$", found.out, re.M)
    assert any(re.match(r"tags of \S+: mAP \d+\.\d % on unseen", each) for each in told)
    assert any("% of pixels by votes: 1: 100.0" in each for each in told)
    assert not any("{" in each for each in told)
    (page,) = re.findall(r"^report: (.*)$", found.out, re.M)
    assert Path(page).exists()
    assert f"segment deeplab_v2 -> {work}/segment/" in found.error


def test_run_until_a_stage(call, recipe_file, tmp_path):
    found = call("run", recipe_file, "--work", tmp_path, "--until", "index")
    assert found.code == 0
    record = json.loads(Path(found.last).read_text())
    assert [stage["stage"] for stage in record["stages"]] == ["index"]
    assert record["artifacts"]["report"] is None


def test_demo_runs_the_toy_recipe_on_its_world(call, monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(cli, "_TOY_TRAIN", 2)
    monkeypatch.setattr(cli, "_TOY_VAL", 1)
    monkeypatch.setattr(cli, "_run", lambda *arguments: ran.append(arguments))
    assert call("demo", "--work", tmp_path).code == 0
    recipe, work, name, _, until = ran[0]
    assert (work, name, until) == (tmp_path, "toy", None)
    assert recipe.data.root == tmp_path / "toy-world"
    assert len(list(recipe.data.root.glob("images/*.png"))) == 3


def test_run_of_a_broken_recipe_file_is_told(call, tmp_path):
    (tmp_path / "r.toml").write_text("[data\n")
    fails(call("run", tmp_path / "r.toml"), "r.toml is not TOML")


def test_unknown_recipe_is_told_with_those_there_are(call):
    fails(call("run", "nonsense"), "there is no recipe nonsense", "toy, toy-ca-cl")


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("segment.stepz=3", ["segment.stepz", "did you mean 'steps'?"]),
        ("segment.steps=-3", ["segment.steps: Input should be greater than 0"]),
        ("segment.min_support=9", ["segment.min_support (9)", "voters (4)"]),
        ("data.root=nowhere", ["there is no image folder /", "nowhere", "relative to"]),
        ("data.masks=nowhere", ["there is no mask folder"]),
        ("segment.steps", ["--set expects KEY=VALUE, got 'segment.steps'"]),
        ("segment.weights=no.pth", ["there is no weights file", "no.pth"]),
    ],
)
def test_mistakes_in_a_recipe(call, recipe_file, tmp_path, command, change, parts):
    fails(call(command, recipe_file, "--work", tmp_path, "--set", change), *parts)


def test_missing_root_is_told(call, tmp_path):
    (tmp_path / "r.toml").write_text("[voters.a]\n")
    fails(call("plan", tmp_path / "r.toml"), "data: Field required")


@pytest.fixture
def spoilt(tmp_path):
    """A world of three scenes to spoil."""
    write_toy_world(tmp_path / "w", num_train=2, num_val=1, random_seed=0, size=32)
    return tmp_path / "w"


def run_spoilt(call, recipe_file, root, *changes):
    arguments = [part for each in changes for part in ("--set", each)]
    root_is = ("--set", f"data.root={root}")
    return call("run", recipe_file, "--work", root.parent / "k", *root_is, *arguments)


def test_all_that_is_wrong_with_the_data_is_told_at_once(call, recipe_file, spoilt):
    table = (spoilt / "tags.csv").read_text().splitlines()
    table[1] = "train_00000,train,trian"
    (spoilt / "tags.csv").write_text("\n".join([*table, "ghost,train,cow"]))
    fails(
        run_spoilt(call, recipe_file, spoilt),
        "problems with the data: 2",
        "tag 'trian' of images/train_00000.png is no class; did you mean 'train'?",
        "image 'ghost' has no file",
    )


def test_truncated_image_and_mask_of_another_size(call, recipe_file, spoilt):
    image = spoilt / "images" / "train_00000.png"
    image.write_bytes(image.read_bytes()[:100])
    Image.new("L", (5, 4)).save(spoilt / "masks" / "train_00001.png")
    fails(
        run_spoilt(call, recipe_file, spoilt),
        "problems with the data: 2",
        "train_00000.png cannot be read as an image",
        "train_00001.png: the mask is 5x4 but belongs to 32x32",
    )


def test_image_that_vanishes_is_told_in_any_stage(call, recipe_file, spoilt):
    run_spoilt(call, recipe_file, spoilt, "data.masks=masks")
    shutil.rmtree(spoilt.parent / "k" / "localize")
    path = spoilt / "images" / "train_00000.png"
    size = path.stat().st_size
    path.write_bytes(b"x" * size)  # of the same size, so that the index is reused
    fails(run_spoilt(call, recipe_file, spoilt), "train_00000.png cannot be read")


def test_weights_of_another_network(call, recipe_file, finished, tmp_path):
    from tag2mask.models.segmenters import load_segmenter

    network = load_segmenter(finished.folder("segment")).network
    save_module(network, tmp_path / "other.safetensors")
    change = f"segment.weights={tmp_path / 'other.safetensors'}"
    found = call("run", recipe_file, "--work", finished.work, "--set", change)
    fails(found, "other.safetensors is not of", "keys are missing")


def test_unknown_backbone_is_told_with_near_names(call, recipe_file, tmp_path):
    change = ("--set", "voters.a.backbone=resnet5O")
    fails(call("run", recipe_file, "--work", tmp_path, *change), "resnet5O", "resnet50")


def test_interruption_tells_how_to_go_on(call, monkeypatch, recipe_file, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tag2mask.pipeline.run", stop)
    found = call("run", recipe_file, "--work", tmp_path)
    fails(found, "stopped; the same command continues")


def test_work_folder_that_cannot_be_made_is_told(call, recipe_file, tmp_path):
    (tmp_path / "file").write_text("")
    found = call("run", recipe_file, "--work", tmp_path / "file")
    fails(found, "file")


def figures(record):
    return record["miou"], record["per_class"], record["boundary_iou"]


@pytest.mark.parametrize(
    ("subject", "options"),
    [("final", []), ("plain", ["--no-flip"])],
)
def test_predict_then_evaluate_gives_the_figures_of_the_run(
    call, finished, world, tmp_path, subject, options
):
    images = sorted(world.glob("images/val_*.png"))
    out = tmp_path / "out"
    found = call("predict", finished.summary, *images, "--out", out, *options)
    assert found.code == 0
    mirror = "" if options else ", mirror"
    assert found.last == f"4 label maps in {out} (scales 1{mirror}, CRF none)"
    found = call("evaluate", out, world / "masks", "--out", tmp_path / "score.json")
    (ours,) = (
        score
        for score in finished.record["scores"]
        if (score["stage"], score["subject"]) == ("predict", subject)
    )
    assert figures(json.loads((tmp_path / "score.json").read_text())) == figures(ours)
    assert found.last == f"mIoU {ours['miou']:.2f} % over 4 images"
    for name in ours["per_class"]:
        assert re.search(rf"^{name} ", found.out, re.M)


def test_a_segment_folder_is_a_model_and_predicts_plainly(
    call, finished, world, tmp_path
):
    image = world / "images" / "val_00000.png"
    found = call("predict", finished.folder("segment"), image, "--out", tmp_path)
    assert found.last.endswith("(scales 1, CRF none)")
    ours = LabelFolder(finished.folder("predict", "plain") / "labels")["val_00000"]
    assert (LabelFolder(tmp_path)["val_00000"] == ours).all()


def test_predict_takes_folders_and_options(call, finished, world, tmp_path):
    out = tmp_path / "out"
    options = ("--scales", "0.5,1", "--flip", "--crf", "deeplab", "--presence", "2")
    found = call("predict", finished.work, world / "images", "--out", out, *options)
    told = "scales 0.5, 1, mirror, presence 2, CRF deeplab"
    assert found.last == f"12 label maps in {out} ({told})"
    assert len(LabelFolder(out)) == 12


def test_predict_again_continues_and_mixes_nothing(call, finished, world, tmp_path):
    images, out = sorted(world.glob("images/val_*.png")), tmp_path / "out"
    first = call("predict", finished.summary, images[0], "--out", out)
    assert first.code == 0
    assert call("predict", finished.summary, *images, "--out", out).code == 0
    other = call("predict", finished.summary, *images, "--out", out, "--no-flip")
    fails(other, f"{out} holds label maps that another model, protocol or program")
    for text in ("[]", '{"images": [1]}'):
        (out / "predict.json").write_text(text)
        strange = call("predict", finished.summary, *images, "--out", out)
        fails(strange, f"{out / 'predict.json'} is no note of a prediction; delete the")


def test_predict_leaves_masks_alone(call, finished, world):
    found = call(
        "predict", finished.summary, world / "images", "--out", world / "masks"
    )
    fails(found, "masks holds label maps")
    assert not (world / "masks" / "classes.json").exists()


@pytest.mark.parametrize(
    ("scales", "part"), [("a,b", "numbers such as"), ("9", "scales.0: Input should be")]
)
def test_scales_that_are_none_are_told(call, finished, world, tmp_path, scales, part):
    arguments = ("predict", finished.summary, world / "images", "--out", tmp_path)
    fails(call(*arguments, "--scales", scales), part)


def test_predict_without_a_model(call, world, tmp_path):
    for model in (tmp_path, tmp_path / "nothing.json"):
        found = call("predict", model, world / "images", "--out", tmp_path / "out")
        fails(found, f"{model} is no model: expected summary.json")
    (tmp_path / "other.json").write_text("[]")
    found = call("predict", tmp_path / "other.json", world, "--out", tmp_path / "out")
    fails(found, "other.json is no summary of a run")


def test_predict_of_a_run_without_a_segmenter(call, finished, world, tmp_path):
    artifacts = finished.record["artifacts"] | {"segment": None}
    record = finished.record | {"artifacts": artifacts}
    (tmp_path / "summary.json").write_text(json.dumps(record))
    found = call("predict", tmp_path, world / "images", "--out", tmp_path / "out")
    fails(found, "no segmenter yet")


def test_predict_without_an_image(call, finished, tmp_path):
    out = ("--out", tmp_path / "out")
    gone = call("predict", finished.summary, tmp_path / "gone.png", *out)
    fails(gone, "there is no image or folder")
    fails(call("predict", finished.summary, tmp_path, *out), "no image in")


def test_predict_refuses_two_images_of_one_name(call, finished, world, tmp_path):
    images = [tmp_path / folder / "a.png" for folder in ("x", "y")]
    for image in images:
        image.parent.mkdir()
        shutil.copy(world / "images" / "val_00000.png", image)
    found = call("predict", finished.summary, *images, "--out", tmp_path / "out")
    fails(found, "would share the label map a.png")


def test_evaluate_of_listed_names(call, finished, world, tmp_path):
    labels = finished.folder("vote") / "labels"
    (tmp_path / "names.txt").write_text("train_00000\n\n train_00003 \n")
    found = call("evaluate", labels, world / "masks", "--names", tmp_path / "names.txt")
    assert found.last.endswith("over 2 images")


def test_evaluate_names_what_is_missing(call, finished, world, tmp_path):
    labels = finished.folder("vote") / "labels"
    (tmp_path / "masks").mkdir()
    found = call("evaluate", labels, tmp_path / "masks")
    fails(found, "8 files are missing", "train_00000.png")
    fails(call("evaluate", labels, tmp_path / "no"), "there is no mask folder")
    fails(call("evaluate", tmp_path / "no", world / "masks"), "no label map in")
    found = call("evaluate", labels, world / "masks", "--names", tmp_path / "no.txt")
    fails(found, "no.txt cannot be read as a list")


def test_evaluate_of_masks_that_score_nothing(call, tmp_path):
    for folder, value in (("labels", 1), ("masks", 255)):
        (tmp_path / folder).mkdir()
        Image.new("L", (4, 4), value).save(tmp_path / folder / "a.png")
    found = call("evaluate", tmp_path / "labels", tmp_path / "masks")
    assert found.code == 0
    assert found.last == "mIoU - % over 1 images"


def test_verify_finds_what_was_altered(call, copied):
    assert call("verify", copied).last == "33 artifacts are as they were written"
    (path,) = copied.glob("segment/*/weights.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (missing,) = copied.glob("vote/*/labels/train_00000.png")
    missing.unlink()
    found = call("verify", copied)
    fails(found, "2 files are not as they were written")
    assert f"{path} is not the file that its stage wrote" in found.out
    assert f"{missing} is missing" in found.out
    assert "--repair` deletes the 2 artifacts" in found.error


def test_verify_repairs_so_that_a_run_makes_it_again(call, copied, recipe_file):
    (missing,) = list(copied.glob("predict/*/labels/val_00000.png"))[:1]
    missing.unlink()
    found = call("verify", copied, "--repair")
    assert found.code == 0
    assert found.last.startswith("deleted 1 of 33 artifacts; run the recipe again")
    assert call("plan", recipe_file, "--work", copied).last.startswith("1 of 33")
    assert call("run", recipe_file, "--work", copied).code == 0
    assert call("verify", copied).last == "33 artifacts are as they were written"


def test_clean_keeps_what_runs_use(call, copied, recipe_file):
    stray = copied / "segment" / "0123456789ab"
    stray.mkdir()
    (stray / "checkpoint.pt").write_bytes(b"x" * 2_000_000)
    assert call("clean", copied, "--yes").last == "deleted 1 folders (2.0 MB)"
    assert not stray.exists()
    assert call("clean", copied).last == "nothing to clean"
    assert call("plan", recipe_file, "--work", copied).last.startswith("0 of 33")


def test_clean_asks_first(copied):
    stray = copied / "segment" / "0123456789ab"
    stray.mkdir()
    runner = CliRunner()
    assert runner.invoke(cli.app, ["clean", str(copied)], input="n\n").exit_code == 0
    assert stray.exists()
    runner.invoke(cli.app, ["clean", str(copied)], input="y\n")
    assert not stray.exists()


def test_report_is_made_again(call, copied, monkeypatch):
    (page,) = copied.glob("report/*/index.html")
    assert call("report", copied).last == str(page)
    shutil.rmtree(page.parent)
    (summary,) = copied.glob("runs/*/summary.json")
    monkeypatch.chdir(summary.parent)
    assert call("report", "summary.json").last == str(page)
    assert page.exists()


@pytest.mark.parametrize("command", ["report", "verify", "clean"])
def test_folder_without_a_run_is_told(call, tmp_path, command):
    fails(call(command, tmp_path), str(tmp_path), "no finished")


def test_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "tag2mask.cli", "run", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tag2mask: there is no recipe nonsense;")
