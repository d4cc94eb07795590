"""Knobs of a network as a request names them."""

from pathlib import Path
from typing import Any

from tag2mask import config
from tag2mask.artifacts.files import file_digest
from tag2mask.errors import ModelError


def network_settings(network: config.Network) -> dict[str, Any]:
    """Return a table's knobs, a local weights file counting by its content.

    Raises:
        ModelError: If that file is missing.
    """
    settings = network.model_dump(mode="json")
    if network.weights not in ("hub", "none"):
        path = Path(network.weights)
        if not path.is_file():
            raise ModelError(
                f"there is no weights file {path.absolute()}; `weights` is 'hub', "
                f"'none' or a path relative to the current folder"
            )
        settings["weights"] = file_digest(path)
    return settings
