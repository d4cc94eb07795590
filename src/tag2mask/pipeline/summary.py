"""summary.json: every score with its protocol, every stage with its time."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.files import digest, read_json, write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.work import RUNS, SUMMARY
from tag2mask.pipeline.builder import Step
from tag2mask.pipeline.graph import Graph
from tag2mask.pipeline.refiners import Refined
from tag2mask.pipeline.scoring import Scoring
from tag2mask.pipeline.segmenters import Segmented
from tag2mask.pipeline.selection import describe_selection
from tag2mask.stages import proxies, report, segment

VERSION = 1


def write_summary(graph: Graph, scoring: Scoring, made: Artifact, *, name: str) -> Path:
    """Write ``runs/NAME-KEY/summary.json`` below the work folder and return its path.

    Paths in it are relative to its own folder.
    """
    recipe = config.resolved(graph.recipe)
    folder = graph.builder.work / RUNS / f"{name}-{digest(recipe)}"
    scores = list(scoring.read())
    record = {
        "version": VERSION,
        "name": name,
        "recipe": recipe,
        "scores": [score for score in scores if "miou" in score],
        "clean_pixels": next((s for s in scores if "miou" not in s), None),
        "proxies": _proxies(scoring),
        "notes": list(graph.index_table().notes),
        "warnings": list(_warnings(graph, scoring)),
        "stages": _stages(graph.builder.steps, with_reuse=True),
        "artifacts": _paths(graph, made, folder),
    }
    write_json(folder / SUMMARY, record)
    return folder / SUMMARY


def add_report(graph: Graph, scoring: Scoring, *, name: str) -> Artifact:
    """Ask for the report of everything that was made."""
    made = graph.made
    builder = graph.builder
    inputs = {"index": made.index, **made.predictions}
    inputs |= {f"score {n}": each.artifact for n, each in enumerate(scoring.scored)}
    inputs |= {f"proxy {n}": each for n, each in scoring.proxies.items()}
    settings = graph.recipe.report.model_dump(mode="json") | {
        "recipe": config.resolved(graph.recipe),
        "name": name,
    }
    request = Request(
        "report",
        report.VERSION,
        settings,
        inputs,
        uses_truth=graph.recipe.data.masks is not None,
    )

    def run(folder: Path) -> None:
        content = report.Content(
            title=name,
            recipe=config.resolved(graph.recipe),
            scores=list(scoring.read()),
            proxies=_proxies(scoring),
            notes=graph.index_table().notes,
            warnings=list(_warnings(graph, scoring)),
            stages=_stages(builder.steps, with_reuse=False),
            environment=made.index.manifest["environment"],
        )
        report.run(
            content,
            _sources(graph, scoring),
            graph.recipe.report,
            folder,
            runtime=graph.runtime,
        )

    return builder.make(request, run)


def _sources(graph: Graph, scoring: Scoring) -> report.Sources:
    made = graph.made
    relabelled = made.segmented.relabelled if made.segmented else None
    return report.Sources(
        index=graph.index_table(),
        voters=tuple(
            report.Voter(
                name,
                voter.cam.folder / "cams",
                LabelFolder(voter.seed.folder / "labels"),
                _report_refined(voter.refined),
            )
            for name, voter in made.electors.items()
        ),
        vote=made.vote.folder if made.vote else None,
        refined=_report_refined(made.refined),
        relabelled=relabelled.folder if relabelled else None,
        min_support=graph.recipe.segment.min_support,
        clean_at=graph.recipe.report.clean_at,
        segment=made.segmented.last.folder if made.segmented else None,
        predictions={
            name: LabelFolder(each.folder / "labels")
            for name, each in made.predictions.items()
        },
        test_split=graph.test_split,
        masks=scoring.masks,
        protocol=graph.recipe.predict.plain,
    )


def _report_refined(refined: Refined) -> report.Refined:
    learnt, labels = refined
    return report.Refined(
        learnt.folder / "edges" if learnt else None, labels.folder if labels else None
    )


def _proxies(scoring: Scoring) -> dict[str, Any]:
    found = {}
    for name, artifact in scoring.proxies.items():
        if artifact.state == "finished":
            artifact.require_whole()
            found[name] = read_json(artifact.folder / proxies.PROXIES)
    return found


def _warnings(graph: Graph, scoring: Scoring) -> Iterator[str]:
    selection = graph.made.selection
    if selection is not None and selection.state == "finished":
        yield describe_selection(graph.recipe, graph.kept, len(graph.made.electors))
    for name, record in _proxies(scoring).items():
        if "tag_map" in record and (warning := proxies.untaught(record)):
            yield f"{name}: {warning}"
    segmented = graph.made.segmented
    for trained in (segmented.first, segmented.second) if segmented else ():
        if trained is not None and trained.state == "finished":
            warning = segment.collapse_warning(trained.folder)
            if warning:
                yield warning


def _stages(steps: Sequence[Step], *, with_reuse: bool) -> list[dict[str, Any]]:
    """Return a row per stage; seconds are of the run that finished it.

    Where it went on with what a run before had left, they do not tell the speed.
    """
    rows = []
    for stage, subject, artifact, state, num_images in steps:
        if artifact.state != "finished":
            continue
        seconds = artifact.manifest["seconds"]
        is_whole = seconds and not artifact.manifest.get("resumed")
        row = {
            "stage": stage,
            "subject": subject,
            "key": artifact.key,
            "seconds": seconds,
            "images_per_second": (
                round(num_images / seconds, 2) if num_images and is_whole else None
            ),
        }
        rows.append(row | {"reused": state == "finished"} if with_reuse else row)
    return rows


def _paths(graph: Graph, made_report: Artifact, folder: Path) -> dict[str, Any]:
    def path(artifact: Artifact | None) -> str | None:
        if artifact is None or artifact.state != "finished":
            return None
        return Path(os.path.relpath(artifact.folder, folder)).as_posix()

    def refined(found: Refined) -> dict[str, str | None]:
        roles = {"irnet": found.irnet, "refine": found.labels}
        return {role: path(each) for role, each in roles.items() if each is not None}

    made = graph.made
    report_folder = path(made_report)
    return {
        "index": path(made.index),
        "voters": {
            name: {
                "localize": path(voter.localize),
                "cam": path(voter.cam),
                "seed": path(voter.seed),
            }
            | refined(voter.refined)
            for name, voter in made.voters.items()
        },
        **({"select": path(made.selection)} if made.selection else {}),
        "vote": path(made.vote),
        **{f"vote_{role}": each for role, each in refined(made.refined).items()},
        **_segmented(made.segmented, path),
        "predict": {name: path(each) for name, each in made.predictions.items()},
        "report": f"{report_folder}/{report.REPORT}" if report_folder else None,
    }


def _segmented(
    made: Segmented | None, path: Callable[[Artifact | None], str | None]
) -> dict[str, str | None]:
    """Return where the segmenter is, and what it came from in a second round."""
    if made is None:
        return {"segment": None}
    told = {"segment": path(made.last)}
    if made.relabelled is not None:
        told |= {"first_round": path(made.first), "relabel": path(made.relabelled)}
    return told
