"""Plan and run a recipe."""

import json
from pathlib import Path

from pydantic import ValidationError

from tag2mask import config
from tag2mask.artifacts.build import Artifact
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.tables import Index
from tag2mask.artifacts.work import latest_summary
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError
from tag2mask.pipeline.builder import STAGES, Builder, Stage, Step
from tag2mask.pipeline.graph import Graph
from tag2mask.pipeline.refiners import check_backbones
from tag2mask.pipeline.scoring import Scoring
from tag2mask.pipeline.summary import add_report, write_summary
from tag2mask.stages.report import REPORT
from tag2mask.stages.segment_network import build_network

__all__ = [
    "STAGES",
    "Stage",
    "Step",
    "open_index",
    "plan",
    "read_run",
    "remake_report",
    "run",
]

_REMADE = ("evaluate", "proxies", "report")


def plan(
    recipe: config.Recipe, work: Path | str, *, name: str = "recipe"
) -> list[Step]:
    """List what a run would make, and what is made already; compute nothing.

    Args:
        recipe: The experiment.
        work: The work folder; it need not exist.
        name: Of the run, which its report bears.

    Raises:
        DatasetError: If the data has problems.
    """
    builder = Builder(Path(work), Runtime(), dry=True)
    _ask(recipe, builder, name)
    return builder.steps


def run(
    recipe: config.Recipe,
    work: Path | str,
    *,
    runtime: Runtime | None = None,
    until: Stage | None = None,
    name: str = "recipe",
) -> Path:
    """Make every artifact of a recipe; finished ones are reused.

    Args:
        recipe: The experiment.
        work: Folder of all artifacts.
        runtime: How it is carried out: device, workers, progress.
        until: Last stage to make; None makes all.
        name: Of the run, in the path of its summary.

    Returns:
        Path of summary.json.

    Raises:
        Tag2MaskError: If data, weights or disk do not allow it; run again to continue.
    """
    # what is wrong with data or a network is told before hours are spent on voters
    dry = Builder(Path(work), Runtime(), dry=True, until=until)
    _ask(recipe, dry, name)
    wanted = {step.stage for step in dry.steps if step.state != "finished"}
    if wanted & {"irnet", "vote_irnet"}:
        check_backbones(recipe)
    if "segment" in wanted:
        build_network(_checkable(recipe.segment), num_classes=2)
    builder = Builder(Path(work), runtime or Runtime(), until=until)
    graph, scoring, made = _ask(recipe, builder, name)
    return write_summary(graph, scoring, made, name=name)


def open_index(
    recipe: config.Recipe, work: Path | str, *, runtime: Runtime | None = None
) -> Index:
    """Return the index of a recipe's data, made if need be.

    Raises:
        DatasetError: If the data has problems.
    """
    builder = Builder(Path(work), runtime or Runtime(), until="index")
    return Graph(recipe, builder).index_table()


def _checkable(table: config.Segmenter) -> config.Segmenter:
    """Return a table whose network can be built before any voter is trained."""
    if not isinstance(table, config.DeepLab) or table.init_from is None:
        return table
    return table.model_copy(update={"weights": "none", "init_from": None})


def remake_report(target: Path, *, runtime: Runtime | None = None) -> Path:
    """Return the report of a run, made again if it was deleted.

    Scores that were deleted are made again too; nothing is trained or predicted.

    Args:
        target: A summary.json, its folder, or a work folder: then the newest run.
        runtime: How it is carried out.

    Raises:
        ArtifactError: If there is no run, or what it made is not there.
    """
    summary = latest_summary(target).resolve()
    recipe, name = read_run(summary)
    work = summary.parents[2]
    for step in plan(recipe, work, name=name):
        if step.state != "finished" and step.stage not in _REMADE:
            raise ArtifactError(
                f"{step.artifact.folder} is not finished, so that there is nothing to "
                f"report: run the recipe of {summary} to its end"
            )
    builder = Builder(work, runtime or Runtime())
    *_, made = _ask(recipe, builder, name)
    return made.folder / REPORT


def _ask(
    recipe: config.Recipe, builder: Builder, name: str
) -> tuple[Graph, Scoring, Artifact]:
    """Ask a builder for everything, the report last."""
    graph = Graph(recipe, builder)
    graph.make()
    scoring = Scoring(graph)
    scoring.make()
    return graph, scoring, add_report(graph, scoring, name=name)


def read_run(summary: Path) -> tuple[config.Recipe, str]:
    """Return the recipe of a run and its name, from its summary.json.

    Raises:
        ArtifactError: If the file is no summary of this version.
    """
    record = read_json(summary)
    try:
        text = json.dumps(record["recipe"])
        return config.Recipe.model_validate_json(text), str(record["name"])
    except (TypeError, LookupError, ValidationError):
        raise ArtifactError(
            f"{summary} is no summary of this version of tag2mask: run its recipe again"
        ) from None
