import errno
import os
import signal
import subprocess
import sys

import pytest

from tag2mask.artifacts import lock
from tag2mask.artifacts.build import Request, build
from tag2mask.artifacts.lock import being_made, locked
from tag2mask.artifacts.work import unused, verify
from tag2mask.errors import ArtifactError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks there")

HOLDER = """
import sys
from pathlib import Path
from tag2mask.artifacts.lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read(1)
    Path(sys.argv[1]).mkdir(exist_ok=True)
"""


@pytest.fixture
def hold():
    """Hold the lock of a folder in another process, which ends at a newline."""
    held = []

    def start(folder):
        command = [sys.executable, "-c", HOLDER, str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        held.append(subprocess.Popen(command, text=True, **pipes))
        assert held[-1].stdout.readline() == "held\n"
        return held[-1]

    yield start
    for process in held:
        process.kill()
        process.communicate()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vote").mkdir()
    return tmp_path / "vote" / "0123456789ab"


def test_free_lock_leaves_no_file(folder):
    with locked(folder):
        assert [path.name for path in folder.parent.iterdir()] == [".0123456789ab.lock"]
    assert list(folder.parent.iterdir()) == []


def test_waits_until_the_other_process_is_done(folder, hold):
    process = hold(folder)
    said = []

    def say(line):
        said.append(line)
        process.stdin.write("\n")
        process.stdin.flush()

    with locked(folder, say=say):
        assert folder.exists()  # the other process made it before it let go
        assert being_made(folder.parents[1]) == ""
    (line,) = said
    assert line.startswith(f"{folder} is being made by process {process.pid} on ")
    assert line.endswith(": waiting until it is done or ends")


def test_killed_process_holds_nothing(folder, hold):
    process = hold(folder)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder.parent / ".0123456789ab.lock").exists()
    with locked(folder):
        pass
    assert list(folder.parent.iterdir()) == []


def test_what_is_being_made_is_not_deleted(tmp_path, hold):
    request = Request("index", 1, {}, {})
    made = build(tmp_path, request, lambda folder: (folder / "x").write_text("four"))
    (made.folder / "x").write_text("five")
    busy = hold(made.folder)
    told = rf"{made.key} is being made by process {busy.pid} on .*; "
    with pytest.raises(ArtifactError, match=f"{told}nothing was deleted, try again wh"):
        unused(tmp_path)
    with pytest.raises(ArtifactError, match=f"{told}nothing was deleted, try again wh"):
        list(verify(tmp_path, repair=True))
    with pytest.raises(ArtifactError, match=f"{told}try again when it has ended"):
        made.discard()
    assert made.state == "finished"
    busy.communicate("\n")
    assert unused(tmp_path) == [made]


def test_artifact_that_another_process_finished_is_reused(tmp_path, hold):
    request = Request("index", 1, {}, {})
    folder = request.artifact(tmp_path).folder
    folder.parent.mkdir()
    process = hold(folder)

    def finish_elsewhere(_):
        done = build(tmp_path / "other", request, lambda folder: (folder / "x").touch())
        done.folder.rename(folder)
        process.stdin.write("\n")
        process.stdin.flush()

    def never(_):
        pytest.fail("made twice")

    folder.mkdir(exist_ok=True)
    assert build(tmp_path, request, never, say=finish_elsewhere).state == "finished"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_has_none(folder, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)
    with locked(folder):
        pass


def test_lock_that_cannot_be_written_is_told(tmp_path):
    with (
        pytest.raises(ArtifactError, match=r"cannot write .*lock: No such file"),
        locked(tmp_path / "vote" / "0123456789ab"),
    ):
        pass
