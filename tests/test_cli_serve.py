"""``tag2mask serve``: what it refuses, and a true server from start to end."""

import os
import re
import signal
import subprocess
import sys
import threading
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
    import socket

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


def test_a_server_answers_and_finishes_what_it_took(finished, world):
    environment = os.environ | {"TAG2MASK_TOKEN": "mine"}
    command = [sys.executable, "-m", "tag2mask.cli", "serve", str(finished.work)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"serving \S+ at (http://127\.0\.0\.1:\d+)/", line)[1]
        photo = (world / "images" / "val_00000.png").read_bytes()
        headers = {"Authorization": "Bearer mine"}
        request = urllib.request.Request(f"{address}/predict", photo, headers)
        statuses = []

        def ask():
            with urllib.request.urlopen(request, timeout=60) as answer:
                statuses.append((answer.status, answer.read()[:4]))

        ask()
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        health = f"{address}/healthz"
        under_way = 0
        while not under_way and len(statuses) < 2:
            with urllib.request.urlopen(health, timeout=60) as answer:
                under_way = b'"under_way":0' not in answer.read()
        process.send_signal(signal.SIGINT)
        for thread in threads:
            thread.join(60)
        assert process.wait(60) == 0
        assert set(statuses) == {(200, b"\x89PNG")}
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
