"""Options that commands share, and how they talk to people."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from tag2mask.errors import Tag2MaskError

if TYPE_CHECKING:
    from tag2mask.engine.runtime import Runtime

RecipeFile = Annotated[
    Path, typer.Argument(help="A TOML file, or the name of a shipped recipe.")
]
Work = Annotated[Path, typer.Option(help="Folder of all artifacts.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the recipe; may repeat."
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks run.")
]
Scales = Annotated[
    str | None, typer.Option(help="As 0.75,1,1.25; default: as the run was scored.")
]
Flip = Annotated[bool | None, typer.Option(help="Average with the mirror.")]
Crf = Annotated[
    Literal["none", "seeds", "irnet", "deeplab"] | None,
    typer.Option(help="Preset of the dense CRF."),
]
Presence = Annotated[
    float | None, typer.Option(help="Doubt classes that are certain nowhere; 0: no.")
]
Workers = Annotated[
    int, typer.Option(min=0, help="Threads over images; 0: one per core.")
]


def make_runtime(
    device: Literal["auto", "cpu", "cuda"], workers: int, *, tensorboard: bool = False
) -> "Runtime":
    """Return how a command is carried out; imports torch."""
    from tag2mask.engine import runtime
    from tag2mask.engine.progress import Progress

    runtime.reuse_memory()
    return runtime.Runtime(
        device=runtime.choose_device(device),
        workers=workers or runtime.default_workers(),
        progress=Progress(console(stderr=True)),
        tensorboard=tensorboard,
    )


def protocol_changes(
    scales: str | None, flip: bool | None, crf: str | None, presence: float | None
) -> dict[str, Any]:
    """Return the keys of the table ``predict`` that a command line changes.

    Raises:
        Tag2MaskError: If ``scales`` is no list of numbers.
    """
    told = {
        "scales": None if scales is None else _numbers(scales),
        "flip": flip,
        "crf": crf,
        "presence": presence,
    }
    return {key: value for key, value in told.items() if value is not None}


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise Tag2MaskError(
            f"--scales expects numbers such as 0.75,1,1.25, got {text!r}"
        ) from None


def say(line: str, *, stderr: bool = False) -> None:
    """Print a line as it is."""
    console(stderr=stderr).print(line, soft_wrap=True)


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is, brackets and colons included."""
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 200  # a table in a file is not wrapped
    return console


def fail(message: str) -> NoReturn:
    """Tell what a user can mend, and leave with exit code 1."""
    say(f"tag2mask: {message}", stderr=True)
    raise SystemExit(1)


def _tell_version(wanted: bool) -> None:
    if wanted:
        say(f"tag2mask {version('tag2mask')}, torch {version('torch')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_tell_version, is_eager=True, help="Tell it, and end."
    ),
]
