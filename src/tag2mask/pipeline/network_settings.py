"""Knobs of a network as a request names them."""

from pathlib import Path
from typing import Any

from tag2mask import config
from tag2mask.artifacts.files import content_digest, file_digest
from tag2mask.errors import ModelError


def network_settings(
    network: config.Network | config.Transformer,
) -> dict[str, Any]:
    """Return a table's knobs, local weights counting by their content.

    Raises:
        ModelError: If a file of weights is missing.
    """
    settings = network.model_dump(mode="json")
    if isinstance(network, config.Transformer):
        if Path(network.weights).is_dir():  # else a name on the hub, or a word
            settings["weights"] = content_digest(Path(network.weights))
    elif network.weights not in ("hub", "none"):
        path = Path(network.weights)
        if not path.is_file():
            raise ModelError(
                f"there is no weights file {path.absolute()}; `weights` is 'hub', "
                f"'none' or a path relative to the current folder"
            )
        settings["weights"] = file_digest(path)
    return settings
