import multiprocessing
import signal
import subprocess
import sys
from collections import Counter

import pytest
import torch

from tag2mask.data.sampling import Tickets, batches


def draw(number, rng):
    return {"image": number, "chance": rng.random()}


def stream(random_seed=0, num_images=5):
    return Tickets(draw, num_images=num_images, random_seed=random_seed)


def drawn(first, last, *, workers=0, batch=3, random_seed=0):
    loader = batches(
        stream(random_seed), first=first, last=last, batch=batch, workers=workers
    )
    return [(each["image"].tolist(), each["chance"].tolist()) for each in loader]


def test_every_image_comes_once_a_round():
    tickets = stream()
    rounds = [[tickets[5 * r + n]["image"] for n in range(5)] for r in range(6)]
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 3


def test_batches_run_over_the_end_of_a_round():
    images = [image for images, _ in drawn(0, 5) for image in images]
    assert len(images) == 15
    assert set(Counter(images).values()) == {3}


def test_stream_does_not_depend_on_where_it_resumes():
    whole = drawn(0, 6)
    assert drawn(0, 2) + drawn(2, 6) == whole
    assert drawn(4, 6) == whole[4:]
    assert drawn(6, 6) == []


def test_tickets_may_be_asked_for_in_any_order():
    tickets = stream()
    forth = [tickets[n] for n in range(12)]
    back = [tickets[n] for n in reversed(range(12))]
    assert forth == back[::-1]


def test_same_image_is_drawn_anew():
    tickets = stream(num_images=1)
    assert tickets[0]["chance"] != tickets[1]["chance"]


def test_random_seed_is_alive():
    assert drawn(0, 4) == drawn(0, 4, random_seed=0)
    assert drawn(0, 4) != drawn(0, 4, random_seed=1)


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="processes are not forked here"
)
def test_stream_does_not_depend_on_the_workers():
    assert drawn(1, 5, workers=1) == drawn(1, 5)


KILLED = """
import os, signal
from tag2mask.data.sampling import Tickets, batches

tickets = Tickets(lambda number, rng: {}, num_images=5, random_seed=0)
loader = batches(tickets, first=0, last=9, batch=1, workers=2)
process = os.fork()
if not process:
    # as if the parent were killed before this process has begun
    process = os.fork()
    if not process:
        loader.worker_init_fn(0)
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
batches = iter(loader)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="processes are not forked here"
)
def test_processes_that_load_end_with_a_parent_that_is_killed():
    command = [sys.executable, "-c", KILLED]
    # returns when no process holds the pipe any more
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"1\n")


def test_no_process_is_made_where_none_can_be_forked(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    loader = batches(stream(), first=0, last=1, batch=1, workers=2)
    assert loader.num_workers == 0


def test_generator_that_dropout_uses_is_left_alone():
    # a resumed training restores it, then opens its loader
    before = torch.get_rng_state()
    drawn(0, 2)
    assert torch.equal(torch.get_rng_state(), before)
