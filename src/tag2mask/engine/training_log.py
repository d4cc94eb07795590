"""The log of a training: one CSV row per report, and TensorBoard if asked."""

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tag2mask.artifacts.files import cure, whole_file
from tag2mask.errors import ArtifactError, Tag2MaskError


class TrainingLog:
    """Appends to ``log.csv``; rows past the step that is resumed from are dropped.

    Args:
        folder: Where the log is.
        done: Step that the training continues from, 0 for a new one.
        tensorboard: Also write event files to ``folder/tensorboard``.

    Raises:
        Tag2MaskError: If TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, done: int, tensorboard: bool) -> None:
        self._path = folder / "log.csv"
        self._rows = [row for row in read_log(folder) if int(row["step"]) <= done]
        self._board = _board(folder / "tensorboard", done) if tensorboard else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one row; a name that first appears now is empty in earlier rows."""
        row = {"step": str(step)}
        row |= {name: f"{value:.6g}" for name, value in values.items()}
        self._rows.append(row)
        names = list(dict.fromkeys(name for each in self._rows for name in each))
        with (
            whole_file(self._path) as scratch,
            scratch.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(self._rows)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._board is not None:
            self._board.close()


def read_log(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a training's log, none if there is no log.

    Raises:
        ArtifactError: If it is damaged, naming it.
    """
    path = folder / "log.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        if all(row["step"].isdecimal() for row in rows):
            return rows
    except (OSError, ValueError, LookupError, AttributeError, csv.Error):
        pass
    raise ArtifactError(f"{path} cannot be read as a training's log; {cure(path)}")


def _board(folder: Path, done: int) -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise Tag2MaskError(
            "--tensorboard needs an extra: pip install 'tag2mask[tensorboard]'"
        ) from None
    return SummaryWriter(folder, purge_step=done + 1)
