"""Run the application until it is told to end."""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from tag2mask.deploy import SUFFIX
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ModelError, Tag2MaskError
from tag2mask.serve.app import make_app
from tag2mask.serve.gallery import open_gallery
from tag2mask.serve.limits import Limits
from tag2mask.serve.served import Served, find_summary, open_model
from tag2mask.serve.served_onnx import open_onnx
from tag2mask.serve.service import Service
from tag2mask.serve.task_images import TaskImages, check_origin

__all__ = [
    "Door",
    "Limits",
    "TaskImages",
    "check_origin",
    "open_service",
    "serve",
]

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_BACKLOG = 128
_IDLE_SECONDS = 5
_LAST_SECONDS = 60
"""For what was taken before the server was told to end."""


class Door(NamedTuple):
    """Where the server listens, and who may ask.

    Attributes:
        host: Address to listen at.
        port: 0: any that is free.
        token: That callers must name; None: everyone may ask.
    """

    host: str
    port: int
    token: str | None


def open_service(
    target: Path,
    changes: Mapping[str, Any],
    *,
    limits: Limits,
    task_images: TaskImages,
    runtime: Runtime,
) -> Service:
    """Load what shall be served.

    Args:
        target: summary.json, a work folder, a segment folder or an exported model.
        changes: Keys of the recipe's table ``predict``.
        limits: Of what is taken in.
        task_images: Reads the images of Label Studio's tasks.
        runtime: Where the network runs, and the threads that read votes.

    Raises:
        ModelError: If there is neither a segmenter nor a vote to look at.
    """
    summary = find_summary(target)
    gallery = open_gallery(summary, runtime) if summary else None
    model: Served | None
    try:
        if target.suffix == SUFFIX:
            model = open_onnx(target, changes, threads=runtime.workers)
        else:
            model = open_model(target, changes, runtime=runtime)
    except ModelError:
        if gallery is None:
            raise
        model = None
    name = summary.parent.name if summary else target.resolve().name
    return Service(name, model, gallery, limits, task_images)


def serve(service: Service, door: Door, *, say: Callable[[str], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; then finish those that were taken.

    Args:
        service: What is served.
        door: Where, and to whom.
        say: Is told the address, once it can be asked.

    Raises:
        Tag2MaskError: If the address cannot be listened at.
    """
    listener = _listen(door)
    host, port = listener.getsockname()[:2]
    is_local = ipaddress.ip_address(host).is_loopback
    hosts = _LOCAL_NAMES | {door.host.lower()} if is_local else None
    config = uvicorn.Config(
        make_app(service, token=door.token, hosts=hosts),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    shown = f"[{host}]" if ":" in host else host
    if not is_local and door.token is None:
        say(f"warning: whoever reaches {shown}:{port} may use it; see --token-file")
    say(f"serving {service.name} at http://{shown}:{port}/, Ctrl+C ends")
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # told again by uvicorn, after everything was finished
        pass
    finally:
        listener.close()


def _listen(door: Door) -> socket.socket:
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(door.host, door.port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            raise Tag2MaskError(
                f"cannot listen at {door.host}:{door.port}: {error}; choose another "
                f"--port or --host"
            ) from None
        stack.pop_all()
    return listener
