"""Plan and run a study: rows and random seeds over one recipe."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from tag2mask import config
from tag2mask.artifacts.build import Artifact
from tag2mask.artifacts.files import digest, read_json
from tag2mask.artifacts.tables import Index
from tag2mask.config.study_schema import RANDOM_SEED, Row, Score, Study, key_of
from tag2mask.data.classes import nearest
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ArtifactError, RecipeError, Tag2MaskError
from tag2mask.pipeline import run
from tag2mask.pipeline.builder import Builder
from tag2mask.pipeline.graph import Graph
from tag2mask.pipeline.scoring import Scoring
from tag2mask.pipeline.study_files import write_study
from tag2mask.pipeline.study_panels import Shown, draw_panels, folder_of
from tag2mask.pipeline.study_table import Result, StudyTable, tabulate
from tag2mask.stages.report_tables import CLEAN

STUDIES = "studies"


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        row: What it is about.
        random_seed: Of the run.
        score: Which of its scores is shown.
        recipe: What is run.
    """

    row: Row
    random_seed: int
    score: Score
    recipe: config.Recipe

    def __str__(self) -> str:
        return f"row {self.row.name!r}, random seed {self.random_seed}"


class Planned(NamedTuple):
    """What a trial needs, as the plan of a study shows it.

    Attributes:
        trial: The run.
        artifacts: All that its score is made of.
        todo: Those of them that are not finished and that no trial before makes.
    """

    trial: Trial
    artifacts: tuple[Artifact, ...]
    todo: tuple[Artifact, ...]


def list_trials(study: Study, overrides: Sequence[str] = ()) -> list[Trial]:
    """Return the runs of a study, the random seeds of a row together.

    Args:
        study: What is studied.
        overrides: Of all rows, after those of the study; a row's own win.

    Raises:
        RecipeError: If a row's recipe is none, naming the row; or if an override sets
            the random seed.
    """
    if RANDOM_SEED in map(key_of, overrides):
        raise RecipeError(
            f"--set random_seed: a study has random seeds of its own, "
            f"{', '.join(map(str, study.random_seeds))}; change them in its file"
        )
    trials = []
    for row in study.variants:
        for random_seed in study.random_seeds:
            told = (*study.set, *overrides, *row.set, f"{RANDOM_SEED}={random_seed}")
            try:
                recipe = config.load_recipe(study.recipe, told)
            except RecipeError as error:
                raise RecipeError(f"row {row.name!r}: {error}") from None
            trials.append(Trial(row, random_seed, row.score or study.score, recipe))
    return trials


def plan_study(
    study: Study, work: Path | str, *, overrides: Sequence[str] = ()
) -> list[Planned]:
    """Return what each run of a study would make; compute nothing.

    Args:
        study: What is studied.
        work: The work folder; it need not exist.
        overrides: As of ``list_trials``.

    Raises:
        Tag2MaskError: If a row cannot be run, or will not have the score that is
            asked for, naming the row.
    """
    planned, seen = [], set[Artifact]()
    for trial in list_trials(study, overrides):
        try:
            artifacts = _needed(trial, Path(work))
        except Tag2MaskError as error:
            raise type(error)(f"row {trial.row.name!r}: {error}") from error
        new = [each for each in artifacts if each not in seen]
        seen.update(new)
        todo = tuple(each for each in new if each.state != "finished")
        planned.append(Planned(trial, artifacts, todo))
    return planned


def run_study(
    study: Study,
    work: Path | str,
    *,
    name: str = "study",
    overrides: Sequence[str] = (),
    runtime: Runtime | None = None,
) -> tuple[StudyTable, Path]:
    """Make every run of a study, then its table and figure.

    Runs share what they have in common, and what other runs below ``work`` have made.

    Args:
        study: What is studied.
        work: Folder of all artifacts.
        name: Of the study, and of its runs.
        overrides: As of ``list_trials``.
        runtime: How it is carried out.

    Returns:
        The table, and the folder ``studies/NAME-KEY`` that holds it as ``write_study``
        says.

    Raises:
        Tag2MaskError: If a run fails, naming row and random seed; the same call
            continues.
    """
    work, runtime = Path(work), runtime or Runtime()
    # a row that cannot be run is told before hours are spent on those above it
    trials = [each.trial for each in plan_study(study, work, overrides=overrides)]
    recipes = [config.resolved(trial.recipe) for trial in trials]
    key = digest([study.model_dump(mode="json"), recipes])
    results = []
    for number, trial in enumerate(trials, 1):
        runtime.progress.say(f"run {number} of {len(trials)}: {trial}")
        results.append(_run_trial(trial, work, name, runtime))
    table = tabulate(study, results, name=name, overrides=overrides)
    folder = work / STUDIES / f"{name}-{key}"
    write_study(table, folder, _panels(study, trials, results))
    return table, folder


def _panels(
    study: Study, trials: Sequence[Trial], results: Sequence[Result]
) -> Image.Image | None:
    """Draw images as each row saw them with the first random seed.

    Rows of predictions and rows of the train split have no image in common: those that
    are like the study's own score are shown.
    """
    first, predicts = study.random_seeds[0], study.score.stage == "predict"
    shown = [
        Shown(trial.row.name, trial.score, folder_of(trial.score, result.summary))
        for trial, result in zip(trials, results, strict=True)
        if trial.random_seed == first and (trial.score.stage == "predict") == predicts
    ]
    data, summary = trials[0].recipe.data, results[0].summary
    folder = summary.parent / read_json(summary)["artifacts"]["index"]
    return draw_panels(shown, Index(folder, data.root), data, count=study.panels)


def _run_trial(trial: Trial, work: Path, name: str, runtime: Runtime) -> Result:
    try:
        summary = run(
            trial.recipe, work, runtime=runtime, until=trial.score.stage, name=name
        )
    except Tag2MaskError as error:
        raise type(error)(
            f"{trial}: {error}; what is finished is kept, the same command continues"
        ) from error
    for score in read_json(summary)["scores"]:
        if _is_asked_for(score, trial.score):
            return Result(trial.row, trial.random_seed, score, summary)
    raise ArtifactError(f"{trial}: {summary} has no score of {trial.score}")


def _is_asked_for(score: Mapping[str, Any], wanted: Score) -> bool:
    chosen = score["protocol"].get("threshold_chosen")
    return (score["stage"], score["subject"], chosen) == (
        wanted.stage,
        wanted.subject,
        wanted.threshold,
    )


def _needed(trial: Trial, work: Path) -> tuple[Artifact, ...]:
    """Return what a trial's run makes up to its stage, and its score."""
    builder = Builder(work, Runtime(), dry=True, until=trial.score.stage)
    graph = Graph(trial.recipe, builder)
    graph.make()
    scoring = Scoring(graph)
    scoring.make()
    scored = dict(_scores(scoring))
    if str(trial.score) not in scored:
        hint = nearest(str(trial.score), list(scored))
        known = ", ".join(scored) or "none, for data.masks is not set"
        raise RecipeError(f"there is no score of {trial.score}{hint}; scores: {known}")
    made = [step.artifact for step in builder.steps]
    return tuple(dict.fromkeys([*made, scored[str(trial.score)]]))


def _scores(scoring: Scoring) -> Iterator[tuple[str, Artifact]]:
    for each in scoring.scored:
        if each.subject != CLEAN:  # counts pixels, and has no mIoU
            yield f"{each.stage} {each.subject}", each.artifact
