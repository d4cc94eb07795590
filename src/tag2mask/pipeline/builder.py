"""Make artifacts, or only list what would be made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from tag2mask.artifacts.build import Artifact, Request, State, build
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import Tag2MaskError

Stage = Literal[
    "index",
    "prompts",
    "localize",
    "cam",
    "seed",
    "irnet",
    "refine",
    "truth",
    "select",
    "vote",
    "vote_irnet",
    "vote_refine",
    "segment",
    "relabel",
    "retrain",
    "predict",
    "evaluate",
    "proxies",
    "report",
]
STAGES: tuple[Stage, ...] = get_args(Stage)
_SCORING = ("evaluate", "proxies")


class Step(NamedTuple):
    """One line of a plan.

    Attributes:
        stage: Name of the stage.
        subject: What it works on, such as the name of a voter.
        artifact: What it makes.
        state: As it was before this run.
        num_images: Images that pass through it, for its speed.
    """

    stage: str
    subject: str
    artifact: Artifact
    state: State
    num_images: int


@dataclass
class Builder:
    """Makes artifacts below ``work``, or only lists them.

    Attributes:
        work: The work folder.
        runtime: How stages are carried out.
        dry: List what would be made; compute nothing.
        until: Last stage to make. Scores of what is made are made as well.
        steps: What was asked for so far, in order.
    """

    work: Path
    runtime: Runtime
    dry: bool = False
    until: Stage | None = None
    steps: list[Step] = field(default_factory=list)

    def make(
        self,
        request: Request,
        run: Callable[[Path], None],
        *,
        subject: str = "",
        num_images: int = 0,
    ) -> Artifact:
        """Return the artifact of a request, made if it is wanted and not finished."""
        artifact = request.artifact(self.work)
        if any(step.artifact == artifact for step in self.steps):
            return artifact
        if artifact.state != "finished" and not self._wants(request):
            return artifact
        step = Step(request.stage, subject, artifact, artifact.state, num_images)
        self.steps.append(step)
        if self.dry:
            return artifact
        name = f"{request.stage} {subject}".strip()
        if step.state != "finished":
            self.runtime.progress.say(f"{name} -> {artifact.folder}")
        try:
            return build(
                self.work,
                request,
                run,
                device=str(self.runtime.device),
                say=self.runtime.progress.say,
            )
        except Tag2MaskError as error:
            raise type(error)(f"stage {name}: {error}") from error

    def wants(self, stage: Stage) -> bool:
        """Whether a stage comes before the last one to make, or is that."""
        return self.until is None or STAGES.index(stage) <= STAGES.index(self.until)

    def _wants(self, request: Request) -> bool:
        if self.until is not None and request.stage in _SCORING:
            return all(each.state == "finished" for each in request.inputs.values())
        return self.wants(cast(Stage, request.stage))
