"""Command ``study``: rows and random seeds over one recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tag2mask.cli.options import (
    Device,
    Overrides,
    Work,
    Workers,
    console,
    make_runtime,
    say,
)

if TYPE_CHECKING:
    from rich.table import Table

    from tag2mask.pipeline.study import Planned


def study(
    study: Annotated[
        Path, typer.Argument(help="A TOML file, or the name of a shipped study.")
    ],
    work: Work = Path("work"),
    recipe: Annotated[
        str | None,
        typer.Option(help="Another recipe than the study's, with the same voters."),
    ] = None,
    set_: Overrides = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what is to do; compute nothing.")
    ] = False,
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Run variants of a recipe with several random seeds; make a table and a figure."""
    from tag2mask.config.study_load import load_study
    from tag2mask.pipeline.study import plan_study, run_study
    from tag2mask.pipeline.study_files import MARKDOWN, as_text_table, captions

    loaded, overrides = load_study(study), set_ or []
    if recipe is not None:
        loaded = loaded.model_copy(update={"recipe": recipe})
    if plan:
        planned = plan_study(loaded, work, overrides=overrides)
        console().print(_plan_table(planned))
        every = {artifact for each in planned for artifact in each.artifacts}
        todo = sum(len(each.todo) for each in planned)
        say(f"{todo} of {len(every)} to do in {work}")
        return
    runtime = make_runtime(device, workers)
    table, folder = run_study(
        loaded, work, name=study.stem, overrides=overrides, runtime=runtime
    )
    console().print(as_text_table(table))
    for line in captions(table):
        say(line)
    say(str(folder / MARKDOWN))


def _plan_table(planned: "Sequence[Planned]") -> "Table":
    """Return what each run makes that no run above it does."""
    from rich.table import Table

    table = Table("row", "random seed", "to do", box=None, pad_edge=False)
    for trial, _, todo in planned:
        stages = dict.fromkeys(artifact.stage for artifact in todo)
        table.add_row(trial.row.name, str(trial.random_seed), ", ".join(stages) or "-")
    return table
