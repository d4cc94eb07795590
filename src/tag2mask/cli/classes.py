"""Commands on what an image-text model is told of classes: ``tag2mask classes ...``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tag2mask.cli.options import (
    Device,
    Overrides,
    RecipeFile,
    Work,
    Workers,
    console,
    make_runtime,
    say,
)
from tag2mask.errors import RecipeError, Tag2MaskError

if TYPE_CHECKING:
    from tag2mask import config

_KEY = "TAG2MASK_API_KEY"

app = typer.Typer(
    name="classes",
    help="See and make what an image-text model is told of classes.",
    no_args_is_help=True,
)
VoterName = Annotated[
    str | None, typer.Option(help="Voter of the recipe; the first that reads texts.")
]


@app.command()
def show(recipe: RecipeFile, voter: VoterName = None, set_: Overrides = None) -> None:
    """Print names, contexts and background words that a recipe uses."""
    from rich.table import Table

    from tag2mask.config import load_recipe
    from tag2mask.stages.index import list_images
    from tag2mask.stages.prompts import describe

    loaded = load_recipe(recipe, set_ or ())
    prompts = _find_voter(loaded, voter).prompts
    classes = describe(list_images(loaded.data).class_names, prompts)
    table = Table("class", "in prompts", "background words", box=None, pad_edge=False)
    for each in classes:
        words = each.background[: prompts.words]
        table.add_row(each.tag, ", ".join(each.names), ", ".join(words) or "none")
    console().print(table)
    for template in prompts.templates:
        say(f"context: {template}")


@app.command()
def suggest(
    recipe: RecipeFile,
    out: Annotated[Path, typer.Option(help="File to write, to be edited.")] = Path(
        "classes.toml"
    ),
    voter: VoterName = None,
    words: Annotated[int, typer.Option(min=1, max=50, help="Words of a class.")] = 7,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help=f"Ask an OpenAI-compatible server instead, as "
            f"http://localhost:11434/v1; its key is read from {_KEY}."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Its model.")] = "gpt-4o-mini",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for an answer.")] = 30,
    work: Work = Path("work"),
    set_: Overrides = None,
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Propose background words for classes without any; by their images, offline."""
    from tag2mask.config import load_recipe
    from tag2mask.data.classes import write_class_prompts
    from tag2mask.data.classes.endpoint import Endpoint
    from tag2mask.pipeline import open_index
    from tag2mask.stages import suggest as stage
    from tag2mask.stages.prompts import describe, open_image_text

    if out.exists():
        raise Tag2MaskError(f"{out} is there already: move it away, or give --out")
    loaded = load_recipe(recipe, set_ or ())
    table = _find_voter(loaded, voter)
    runtime = make_runtime(device, workers)
    index = open_index(loaded, work, runtime=runtime)
    classes = describe(index.class_names, table.prompts)

    def propose() -> tuple[tuple[str, ...], ...]:
        if endpoint is not None:
            server = Endpoint(endpoint, model, os.environ.get(_KEY), timeout)
            return stage.propose_from_endpoint(
                server, classes, num_words=words, runtime=runtime
            )
        teacher = open_image_text(table.image_text, device=runtime.device)
        return stage.propose_from_images(
            index, teacher, classes, num_words=words, runtime=runtime
        )

    write_class_prompts(out, stage.suggest(classes, propose))
    say(f"{out}: edit it, then name it in the recipe: prompts.classes = '{out}'")


def _find_voter(recipe: "config.Recipe", name: str | None) -> "config.TextVoter":
    from tag2mask import config

    found = {
        key: voter
        for key, voter in recipe.voters.items()
        if isinstance(voter, config.TextVoter)
    }
    if name is None and found:
        return next(iter(found.values()))
    if name not in found:
        named = f"{name} " if name else ""
        raise RecipeError(
            f"the recipe has no voter {named}that reads texts: method 'ca_cl', "
            f"'clims' or 'text_cam'; there are {', '.join(found) or 'none'}"
        )
    return found[name]
