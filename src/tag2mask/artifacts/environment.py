"""The versions that a number may depend on."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def environment() -> dict[str, str]:
    """Return the versions that a number may depend on; recorded, never hashed."""
    names = ("tag2mask", "torch", "timm", "numpy", "numba", "pillow")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "unknown"
    return found | {"commit": _commit()}


def _commit() -> str:
    """Return the commit of the checkout that runs, ``none`` if it is installed."""
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return "none"
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or not our checkout
        return "none"
    return done.stdout.strip()
