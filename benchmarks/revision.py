"""What a benchmark measured."""

import subprocess
from pathlib import Path


def commit() -> str:
    """Name the commit that is measured, marked if files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
