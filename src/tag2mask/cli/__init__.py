"""Command line: thin words over the Python API.

Heavy modules are imported inside the commands, so that ``--help`` answers at once.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from tag2mask.cli import classes, data, export
from tag2mask.cli.crf import crf
from tag2mask.cli.options import (
    Crf,
    Device,
    Flip,
    Overrides,
    Presence,
    RecipeFile,
    Scales,
    Version,
    Work,
    Workers,
    console,
    fail,
    make_runtime,
    protocol_changes,
    say,
)
from tag2mask.cli.serve import serve
from tag2mask.cli.statistics import statistics
from tag2mask.cli.study import study
from tag2mask.cli.submit import submit
from tag2mask.cli.sweep import sweep
from tag2mask.errors import Tag2MaskError

if TYPE_CHECKING:
    from tag2mask.engine.runtime import Runtime


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would leave without a word
            raise Tag2MaskError(
                "stopped; the same command continues where this one was"
            ) from None


app = typer.Typer(
    name="tag2mask",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _tag2mask(version: Version = False) -> None:
    """From image-level tags to segmentation masks to a small segmenter."""
    del version


app.add_typer(data.app)
app.add_typer(classes.app)
app.add_typer(export.app)
_DEMO_WORK = Path("work/demo")
_TOY_TRAIN, _TOY_VAL = 400, 120

Before = Literal["index", "prompts", "localize", "cam", "seed", "irnet", "refine"]
ForLabels = Literal[Before, "truth", "vote", "vote_irnet", "vote_refine"]
Trained = Literal["segment", "relabel", "retrain"]
StageName = Literal[ForLabels, Trained, "predict", "evaluate", "report"]


def main() -> None:
    """Run the command line; a user's mistake ends in a message and exit code 1."""
    # idle threads that spin starve whatever shares the machine, our own loaders too:
    # four times slower training beside one busy process; read when torch is imported
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except Tag2MaskError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error}; nothing that was finished is lost: run the command again")


@app.command()
def demo(
    work: Work = _DEMO_WORK, device: Device = "auto", workers: Workers = 0
) -> None:
    """Make the toy world and run its recipe: tags to masks in a few minutes."""
    from tag2mask.config import load_recipe
    from tag2mask.data import toy

    world = work / "toy-world"
    if not (world / toy.LAST_FILE).exists():
        toy.write_toy_world(
            world, num_train=_TOY_TRAIN, num_val=_TOY_VAL, random_seed=0
        )
    recipe = load_recipe(Path("toy"), [f"data.root={world}"])
    _run(recipe, work, "toy", make_runtime(device, workers), None)


@app.command()
def plan(recipe: RecipeFile, work: Work = Path("work"), set_: Overrides = None) -> None:
    """Show what a run would make, and what is made already; compute nothing."""
    from rich.table import Table

    from tag2mask.config import load_recipe
    from tag2mask.pipeline import plan as plan_recipe

    steps = plan_recipe(load_recipe(recipe, set_ or ()), work, name=recipe.stem)
    table = Table("stage", "subject", "key", "state", box=None, pad_edge=False)
    for step in steps:
        table.add_row(step.stage, step.subject, step.artifact.key, step.state)
    console().print(table)
    todo = sum(step.state != "finished" for step in steps)
    say(f"{todo} of {len(steps)} to do in {work}")


@app.command()
def run(
    recipe: RecipeFile,
    work: Work = Path("work"),
    set_: Overrides = None,
    until: Annotated[StageName | None, typer.Option(help="Last stage to make.")] = None,
    device: Device = "auto",
    workers: Workers = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard logs.")
    ] = False,
) -> None:
    """Make masks and a segmenter; run again after an interruption to continue."""
    from tag2mask.config import load_recipe

    loaded = load_recipe(recipe, set_ or ())
    runtime = make_runtime(device, workers, tensorboard=tensorboard)
    _run(loaded, work, recipe.stem, runtime, until)


app.command()(study)
app.command()(statistics)


@app.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="summary.json of a run, a segment folder, a file of `export onnx`, "
            "or OWNER/NAME on the Hugging Face hub."
        ),
    ],
    images: Annotated[list[Path], typer.Argument(help="Images or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the index PNGs.")],
    scales: Scales = None,
    flip: Flip = None,
    crf: Crf = None,
    presence: Presence = None,
    device: Device = "auto",
) -> None:
    """Label images with a trained segmenter: index PNGs, 0 = background."""
    change = protocol_changes(scales, flip, crf, presence)
    if Path(model).suffix.lower() == ".onnx":
        _predict_exported(model, images, out, change, device)
        return
    from tag2mask import prediction

    count, protocol = prediction.predict_files(
        model, images, out, change, runtime=make_runtime(device, 0)
    )
    say(f"{count} label maps in {out} ({protocol})")


app.command()(crf)


@app.command()
def evaluate(
    labels: Annotated[Path, typer.Argument(help="Folder of label maps.")],
    masks: Annotated[Path, typer.Argument(help="Folder of ground-truth masks.")],
    names: Annotated[
        Path | None, typer.Option(help="List of the images to score, one a line.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
    workers: Workers = 0,
) -> None:
    """Score a folder of label maps against a folder of masks."""
    from tag2mask import prediction
    from tag2mask.pipeline.score_table import number

    record = prediction.evaluate_folders(
        labels, masks, names, out, runtime=make_runtime("cpu", workers)
    )
    for name, value in record["per_class"].items():
        say(f"{name:20s} {number(value, 2):>6s}")
    say(f"mIoU {number(record['miou'], 2)} % over {record['num_images']} images")


app.command()(sweep)
app.command()(serve)
app.command()(submit)


@app.command()
def report(
    target: Annotated[Path, typer.Argument(help="A work folder or a summary.json.")],
) -> None:
    """Print where the report of a run is, making it again if it is gone."""
    from tag2mask.pipeline import remake_report

    say(str(remake_report(target, runtime=make_runtime("auto", 0))))


@app.command()
def verify(
    work: Annotated[Path, typer.Argument(help="A work folder.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Delete what is damaged, to be made again.")
    ] = False,
) -> None:
    """Compare every file of every finished artifact with its recorded SHA-256."""
    from tag2mask.artifacts.work import verify as verify_work

    for line in verify_work(work, repair=repair):
        say(line)


@app.command()
def clean(
    work: Annotated[Path, typer.Argument(help="A work folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete what no finished run of a work folder uses, unfinished work included."""
    from tag2mask.artifacts.work import folder_size, unused

    rest = unused(work)
    for artifact in rest:
        say(f"{artifact.folder} ({artifact.state})")
    if not rest:
        say("nothing to clean")
        return
    size = sum(folder_size(artifact.folder) for artifact in rest)
    question = f"delete these {len(rest)} folders ({size / 1e6:.1f} MB)?"
    if not yes and not typer.confirm(question):
        return
    for artifact in rest:
        artifact.discard()
    say(f"deleted {len(rest)} folders ({size / 1e6:.1f} MB)")


def _run(
    recipe: Any,  # noqa: ANN401
    work: Path,
    name: str,
    runtime: "Runtime",
    until: StageName | None,
) -> None:
    from tag2mask.artifacts.files import read_json
    from tag2mask.pipeline import run as run_recipe
    from tag2mask.pipeline.score_table import proxy_words, score_table

    summary = run_recipe(recipe, work, runtime=runtime, until=until, name=name)
    record = read_json(summary)
    for kind in ("notes", "warnings"):
        for line in record[kind]:
            say(f"{kind[:-1]}: {line}")
    if record["scores"]:
        console().print(score_table(record["scores"]))
    for subject, values in record["proxies"].items():
        say(f"without masks: {subject}: {proxy_words(values)}")
    if record["artifacts"]["report"]:
        say(f"report: {(summary.parent / record['artifacts']['report']).resolve()}")
    say(str(summary))


def _predict_exported(
    model: str, images: list[Path], out: Path, change: dict[str, Any], device: str
) -> None:
    """Label images by ONNX Runtime; imports no torch."""
    from tag2mask import deploy

    if change or device == "cuda":
        raise Tag2MaskError(
            f"{model} predicts as it was exported, on the CPU, without mirror or CRF: "
            f"leave --scales, --flip, --crf, --presence and --device out, or predict "
            f"with the run that it was exported from"
        )
    count, protocol = deploy.predict_files(model, images, out)
    say(f"{count} label maps in {out} ({protocol})")
