"""One thread, batches of one size, nothing lost."""

import threading

import numpy as np
import pytest
import torch

from tag2mask.serve.worker import Answer, ModelWorker, Question


def question(height, width, value=0):
    pixels = torch.full((height, width, 3), value, dtype=torch.uint8)
    return Question(pixels, wants_probabilities=False)


class Network:
    """Answers with the value of each image; can be made to wait, or to fail."""

    def __init__(self):
        self.batches = []
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def __call__(self, questions):
        self.begun.set()
        assert self.gate.wait(20)
        self.threads.add(threading.get_ident())
        self.batches.append([tuple(each.pixels.shape[:2]) for each in questions])
        if any(each.pixels[0, 0, 0] == 13 for each in questions):
            raise RuntimeError("thirteen")
        return [Answer(each.pixels[..., 0].numpy(), None) for each in questions]


@pytest.fixture
def network():
    return Network()


def held(network, worker):
    """Keep the network busy with one question, so that others wait."""
    network.gate.clear()
    first = worker.submit(question(1, 1))
    assert network.begun.wait(20)
    return first


def test_waiting_images_of_one_size_run_together(network):
    worker = ModelWorker(network, most_images=3, most_pixels=100)
    answers = [held(network, worker)]
    sizes = [(2, 2), (4, 2), (2, 2), (2, 2), (2, 2), (4, 2)]
    answers += [worker.submit(question(*size, n)) for n, size in enumerate(sizes)]
    network.gate.set()
    worker.close()
    assert network.batches == [[(1, 1)], [(2, 2)] * 3, [(4, 2)] * 2, [(2, 2)]]
    found = [int(answer.result(0).labels[0, 0]) for answer in answers]
    assert found == [0, 0, 1, 2, 3, 4, 5]
    assert len(network.threads) == 1


@pytest.mark.parametrize(("pixels", "sizes"), [(8, [1, 2, 1]), (3, [1, 1, 1, 1])])
def test_a_batch_has_so_many_pixels_but_one_image_may_have_more(network, pixels, sizes):
    worker = ModelWorker(network, most_images=9, most_pixels=pixels)
    held(network, worker)
    for _ in range(3):
        worker.submit(question(2, 2))
    network.gate.set()
    worker.close()
    assert [len(batch) for batch in network.batches] == sizes


def test_what_goes_wrong_with_a_batch_reaches_those_who_asked(network):
    worker = ModelWorker(network, most_images=2, most_pixels=100)
    held(network, worker)
    answers = [worker.submit(question(2, 2, n)) for n in (13, 1, 2)]
    network.gate.set()
    worker.close()
    for answer in answers[:2]:
        with pytest.raises(RuntimeError, match="thirteen"):
            answer.result(0)
    assert np.all(answers[2].result(0).labels == 2)


def test_a_question_taken_back_is_not_asked(network):
    worker = ModelWorker(network, most_images=2, most_pixels=100)
    held(network, worker)
    gone, kept = worker.submit(question(2, 2)), worker.submit(question(3, 3))
    assert gone.cancel()
    network.gate.set()
    worker.close()
    assert network.batches == [[(1, 1)], [(3, 3)]]
    assert kept.done()


def test_closing_finishes_what_was_taken_and_takes_no_more(network):
    worker = ModelWorker(network, most_images=1, most_pixels=100)
    answers = [worker.submit(question(2, 2)) for _ in range(20)]
    worker.close()
    assert all(answer.done() for answer in answers)
    with pytest.raises(RuntimeError, match="shutdown"):
        worker.submit(question(1, 1))
