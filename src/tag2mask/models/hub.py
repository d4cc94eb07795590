"""Segmenters on the Hugging Face hub."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from tag2mask.errors import ModelError
from tag2mask.models.segmenters import CARD, WEIGHTS

README = "README.md"
_PREFIX = "hub:"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REFUSALS = (HfHubHTTPError, OSError, ValueError)
"""What the library raises where it gets no answer, or a refusal."""


def hub_name(model: str) -> str | None:
    """Return OWNER/NAME of ``hub:OWNER/NAME``, or of OWNER/NAME where no path is so.

    Raises:
        ModelError: If what follows ``hub:`` is no name.
    """
    if model.startswith(_PREFIX):
        return checked_name(model.removeprefix(_PREFIX))
    return model if _NAME.fullmatch(model) and not Path(model).exists() else None


def checked_name(name: str) -> str:
    """Return a name on the hub as it is.

    Raises:
        ModelError: If it is none.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} is no name on the hub: expected OWNER/NAME")
    return name


def fetch_model(name: str) -> Path:
    """Return a local folder with the card and weights of OWNER/NAME.

    Raises:
        ModelError: If they cannot be had.
    """
    with _explained(
        f"{name} is no path here, and cannot be had from the hub as a model of tag2mask"
    ):
        folder = Path(snapshot_download(name, allow_patterns=[CARD, WEIGHTS]))
    if not (folder / CARD).is_file():
        raise ModelError(
            f"{name} on the hub is no model of tag2mask: there is no {CARD} in it"
        )
    return folder


def push_model(folder: Path, name: str, *, private: bool) -> str:
    """Upload a folder that ``write_hub_folder`` wrote; return its page.

    Raises:
        ModelError: If the hub refuses.
    """
    with _explained(f"{checked_name(name)} cannot be written on the hub"):
        api = HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=[CARD, WEIGHTS, README],
            commit_message="Segmenter of tag2mask",
        )
    return str(commit.repo_url)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except _REFUSALS as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{what} ({reason}); check the name, the connection and `hf auth login`"
        ) from None
