"""Plan and run a recipe."""

import json
from pathlib import Path

from tag2mask import config
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.work import latest_summary
from tag2mask.engine.runtime import Runtime
from tag2mask.pipeline.builder import STAGES, Builder, Stage, Step
from tag2mask.pipeline.graph import Graph
from tag2mask.pipeline.scoring import Scoring
from tag2mask.pipeline.summary import add_report, write_summary

__all__ = ["STAGES", "Stage", "Step", "plan", "remake_report", "run"]


def plan(recipe: config.Recipe, work: Path | str) -> list[Step]:
    """List what a run would make, and what is made already; compute nothing.

    Args:
        recipe: The experiment.
        work: The work folder; it need not exist.

    Raises:
        DatasetError: If the data has problems.
    """
    builder = Builder(Path(work), Runtime(), dry=True)
    graph = Graph(recipe, builder)
    graph.make()
    scoring = Scoring(graph)
    scoring.make()
    add_report(graph, scoring, name="recipe")
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
    builder = Builder(Path(work), runtime or Runtime(), until=until)
    graph = Graph(recipe, builder)
    graph.make()
    scoring = Scoring(graph)
    scoring.make()
    report = add_report(graph, scoring, name=name)
    return write_summary(graph, scoring, report, name=name)


def remake_report(target: Path, *, runtime: Runtime | None = None) -> Path:
    """Return the report of a run, made again if it was deleted.

    Args:
        target: A summary.json, its folder, or a work folder: then the newest run.
        runtime: How it is carried out.

    Raises:
        ArtifactError: If there is no run.
    """
    summary = latest_summary(target)
    record = read_json(summary)
    recipe = config.Recipe.model_validate_json(json.dumps(record["recipe"]))
    work = summary.parents[2]
    again = run(recipe, work, runtime=runtime, name=record["name"])
    page = again.parent / str(read_json(again)["artifacts"]["report"])
    return page.resolve()
