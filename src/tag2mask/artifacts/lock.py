"""A lock on the folder of an artifact: one process makes it, the others wait.

The kernel holds the lock and drops it when the process ends, however it ends: what is
left of the lock's file means nothing (docs/decisions/0007-lock-by-process.md). There
is none on Windows.
"""

import errno
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tag2mask.errors import ArtifactError

if sys.platform != "win32":
    import fcntl

_HELD = (errno.EACCES, errno.EAGAIN)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers; then there is no lock."""
_MOST_BYTES = 200


@contextmanager
def locked(folder: Path, *, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of an artifact's folder, which need not exist.

    Args:
        folder: The artifact; its lock is a file beside it.
        say: Is told once, before waiting for another process; None does not wait.

    Raises:
        ArtifactError: If another process holds it and ``say`` is None.
    """
    if sys.platform == "win32":
        yield
        return
    path = folder.with_name(f".{folder.name}.lock")
    descriptor = _acquire(path, folder, say)
    try:
        yield
    finally:
        with suppress(OSError):
            # a process that waits for a file that is gone opens the next one
            path.unlink(missing_ok=True)
        os.close(descriptor)


def being_made(work: Path) -> str:
    """Name an artifact of a work folder that a living process is making, and who.

    Empty if there is none. Not for a process that makes one itself: looking at its
    own lock would open it.
    """
    if sys.platform == "win32":
        return ""
    for path in sorted(work.glob("*/.*.lock")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:  # it has just gone, or belongs to another user
            continue
        try:
            if not _try(descriptor):
                folder = path.with_name(path.name[1 : -len(".lock")])
                return f"{folder} is being made by {_owner(descriptor)}"
        finally:
            os.close(descriptor)
    return ""


def _acquire(path: Path, folder: Path, say: Callable[[str], None] | None) -> int:
    while True:
        descriptor = _open(path)
        try:
            if not _try(descriptor):
                held = f"{folder} is being made by {_owner(descriptor)}"
                if say is None:
                    raise ArtifactError(f"{held}; try again when it has ended")
                say(f"{held}: waiting until it is done or ends")
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
            if _is_there(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror}; make room or choose another "
            f"--work folder, then run the same command again: it continues"
        ) from None


def _try(descriptor: int) -> bool:
    """Take the lock if it is free, or where there are no locks."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _is_there(descriptor: int, path: Path) -> bool:
    """Whether the file that was locked is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    with suppress(OSError):  # on a full disk: the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {platform.node()}".encode(), 0)


def _owner(descriptor: int) -> str:
    name = os.pread(descriptor, _MOST_BYTES, 0).decode(errors="replace")
    return f"process {name}" if name else "another process"
