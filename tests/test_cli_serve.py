"""``tag2mask serve``: what it refuses, and a true server from start to end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from functools import partial

import pytest


@pytest.fixture
def call(call_cli):
    """Run ``tag2mask serve``."""
    return partial(call_cli, "serve")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere cannot be served: expected summary.json of a run"),
        (["{work}", "--scales", "x"], "--scales expects numbers"),
        (["{work}", "--scales", "9"], "images cannot be predicted so: scales"),
        (["{work}", "--presence", "200"], "images cannot be predicted so: presence"),
        (["{work}", "--token-file", "none"], "the token cannot be read"),
        (["{work}", "--token-file", "{empty}"], "expected a token on one line"),
        (["{work}", "--label-studio", "here"], "--label-studio expects an address"),
        (["{work}", "--host", "host.invalid"], "cannot listen at host.invalid:8000"),
    ],
)
def test_mistakes_are_told(call, finished, tmp_path, arguments, said):
    empty = tmp_path / "token"
    empty.write_text("\n")
    filled = [each.format(work=finished.work, empty=empty) for each in arguments]
    code, _, error = call(*filled)
    assert code == 1
    assert said in error


def test_a_taken_port_is_told(call, finished):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, error = call(finished.work, "--port", port)
    assert code == 1
    assert f"cannot listen at 127.0.0.1:{port}" in error
    assert "choose another --port" in error


def test_a_missing_extra_is_told(call, finished, monkeypatch):
    for name in [each for each in sys.modules if each.startswith("tag2mask.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, error = call(finished.work)
    assert code == 1
    assert (
        'serve needs uvicorn, which is an extra: pip install "tag2mask[serve]"' in error
    )


@pytest.fixture
def server(finished):
    """A server over the tiny run, with a token; its process and its port."""
    command = [sys.executable, "-m", "tag2mask.cli", "serve", str(finished.work)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TAG2MASK_TOKEN": "mine"},
    )
    line = process.stdout.readline()
    yield process, int(re.search(r"at http://127\.0\.0\.1:(\d+)/, Ctrl", line)[1])
    process.kill()
    process.communicate()


def under_way(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
        return json.load(answer)["under_way"]


def listens(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_told_to_end_finishes_what_it_took(server, world, told):
    process, port = server
    photo = (world / "images" / "val_00000.png").read_bytes()
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost:{port}\r\n"
        f"Authorization: Bearer mine\r\nContent-Length: {len(photo)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(head.encode() + photo[:100])
        while not under_way(port):
            pass
        process.send_signal(told)
        while listens(port):
            pass
        caller.sendall(photo[100:])
        answer = b""
        while part := caller.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\n\r\n\x89PNG" in answer
    assert answer.endswith(b"IEND\xaeB`\x82")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (0 if told == signal.SIGINT else -signal.SIGTERM)
    assert "Traceback" not in errors
