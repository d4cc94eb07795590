"""A model that answers: together as alone."""

import numpy as np
import torch

from tag2mask.engine.runtime import Runtime
from tag2mask.serve.served import open_model
from tag2mask.serve.worker import Question


def test_images_answered_together_are_answered_as_alone(finished):
    """Each by a thread of its own on a CPU, after which torch has its threads again."""
    model = open_model(finished.folder("segment"), {}, runtime=Runtime(workers=3))
    pictures = torch.randint(0, 256, (5, 40, 56, 3), dtype=torch.uint8)
    questions = [
        Question(each, number % 2 == 0) for number, each in enumerate(pictures)
    ]
    before = torch.get_num_threads()
    together = model.predict(questions)
    assert torch.get_num_threads() == before
    for question, answer in zip(questions, together, strict=True):
        (alone,) = model.predict([question])
        assert np.array_equal(answer.labels, alone.labels)
        assert (answer.probabilities is None) == (not question.wants_probabilities)
        if question.wants_probabilities:
            np.testing.assert_allclose(
                answer.probabilities, alone.probabilities, rtol=1e-5
            )
    assert len({answer.labels.tobytes() for answer in together}) == len(pictures)


def test_probabilities_are_weighed_by_presence(finished):
    folder, runtime = finished.folder("segment"), Runtime(workers=1)
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (40, 56, 3), generator=generator).to(torch.uint8)
    plain, weighed = (
        open_model(folder, {"presence": each}, runtime=runtime).predict(
            [Question(picture, True)]
        )[0]
        for each in (0.0, 8.0)
    )
    assert np.array_equal(weighed.labels, weighed.probabilities.argmax(0))
    assert (weighed.labels != plain.labels).any()
    np.testing.assert_allclose(weighed.probabilities.sum(0), 1, rtol=1e-5)
