"""Where the segmenter is that somebody names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask.artifacts.build import Artifact
from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.work import latest_summary
from tag2mask.errors import ModelError, Tag2MaskError
from tag2mask.models.hub import fetch_model, hub_name
from tag2mask.models.segmenters import CARD


class Located(NamedTuple):
    """A segmenter, and the run that it is of.

    Attributes:
        folder: Of its card and weights.
        run: What the run's summary.json says; None if it is of no run.
    """

    folder: Path
    run: Mapping[str, Any] | None

    @property
    def protocol(self) -> dict[str, Any]:
        """The recipe's table ``predict`` that it was scored by; empty without a run."""
        return dict(self.run["recipe"]["predict"]) if self.run else {}


def locate_segmenter(model: Path | str) -> Located:
    """Find a segmenter.

    Args:
        model: summary.json of a run or its work folder, a segment folder, or
            OWNER/NAME on the Hugging Face hub, which ``hub:`` may precede.

    Raises:
        ArtifactError: If its files are not as their stage left them.
        ModelError: If it is none of these.
    """
    text = model.as_posix() if isinstance(model, Path) else model
    name = hub_name(text)
    if name is not None:
        return Located(fetch_model(name), None)
    model = Path(model)
    if (model / CARD).exists():
        return Located(_require_whole(model), None)
    try:
        summary = latest_summary(model)
    except Tag2MaskError:
        raise ModelError(
            f"{model} is no model: expected summary.json of a run, its work folder, or "
            f"a segment folder with {CARD}, or OWNER/NAME on the hub"
        ) from None
    record = read_json(summary)
    try:
        folder = record["artifacts"]["segment"]
        place = Path() if folder is None else summary.parent / folder
        found = Located(place, record)
        _ = found.protocol
    except (TypeError, ValueError, LookupError):
        raise ModelError(f"{summary} is no summary of a run") from None
    if folder is None:
        raise ModelError(
            f"{summary}: this run has no segmenter yet; run its recipe to its end, or "
            f"name the summary.json of another run"
        )
    try:
        return found._replace(folder=_require_whole(place.resolve()))
    except OSError as error:  # such as a name that no disk can have
        raise ModelError(f"{summary}: its segmenter cannot be read ({error})") from None


def _require_whole(folder: Path) -> Path:
    """Compare a segmenter with its digests, if it is an artifact and no copy of one."""
    artifact = Artifact(folder.resolve())
    if artifact.state == "finished":
        artifact.require_whole()
    return folder
