"""Command ``serve``: a model and the review of a run over HTTP."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from tag2mask.cli.options import (
    Crf,
    Device,
    Flip,
    Presence,
    Scales,
    Workers,
    make_runtime,
    protocol_changes,
    say,
)
from tag2mask.errors import Tag2MaskError

_TOKEN = "TAG2MASK_TOKEN"
_KEY = "TAG2MASK_LABEL_STUDIO_KEY"


def serve(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_MODEL",
            help="summary.json of a run, its work folder, a segment folder, or an "
            "exported model.onnx.",
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0: every one.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: any that is free.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File of the token that callers must name; without it {_TOKEN} is "
            f"read from the environment."
        ),
    ] = None,
    scales: Scales = None,
    flip: Flip = None,
    crf: Crf = None,
    presence: Presence = None,
    megabytes: Annotated[float, typer.Option(min=0.01, help="Of one upload.")] = 20,
    megapixels: Annotated[float, typer.Option(min=0.01, help="Of one image.")] = 12.6,
    body_seconds: Annotated[
        float, typer.Option(min=0.1, help="Until a body must have arrived.")
    ] = 30,
    queue: Annotated[
        int, typer.Option(min=1, help="Requests under way; more are told to wait.")
    ] = 16,
    batch: Annotated[
        int, typer.Option(min=1, help="Images of one size that run together.")
    ] = 4,
    label_studio: Annotated[
        str | None,
        typer.Option(
            help=f"Label Studio whose images may be fetched, as http://localhost:8080; "
            f"its key is read from {_KEY}."
        ),
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Serve a model over HTTP, with a page for people and the review of a run."""
    token = _read_token(token_file)
    server = _open_server()
    limits = server.Limits(
        upload_bytes=round(megabytes * 1e6),
        pixels=round(megapixels * 1e6),
        body_seconds=float(body_seconds),
        queue=queue,
        batch=batch,
    )
    origin = server.check_origin(label_studio) if label_studio else None
    images = server.TaskImages(origin, os.environ.get(_KEY), limits.upload_bytes)
    service = server.open_service(
        model,
        protocol_changes(scales, flip, crf, presence),
        limits=limits,
        task_images=images,
        runtime=make_runtime(device, workers),
    )
    server.serve(service, server.Door(host, port, token), say=say)


def _open_server() -> Any:  # noqa: ANN401
    try:
        from tag2mask.serve import server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tag2mask"):
            raise
        raise Tag2MaskError(
            f"serve needs {error.name}, which is an extra: "
            f'pip install "tag2mask[serve]"'
        ) from None
    return server


def _read_token(path: Path | None) -> str | None:
    if path is None:
        text, source = os.environ.get(_TOKEN), _TOKEN
    else:
        source = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Tag2MaskError(f"the token cannot be read: {error}") from None
    if text is None:
        return None
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Tag2MaskError(
            f"{source}: expected a token on one line, printable ASCII without spaces; "
            f"make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token
