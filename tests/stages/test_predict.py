import threading

import pytest
import torch
from PIL import Image

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder, write_labels
from tag2mask.data.images import read_image
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import TrainingError
from tag2mask.functional.crf import dense_crf
from tag2mask.functional.presence import weigh_by_presence
from tag2mask.models.segmenters import load_segmenter
from tag2mask.stages import predict

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network(finished):
    return load_segmenter(finished.folder("segment")).network


def image(height, width, random_seed=0):
    generator = torch.Generator().manual_seed(random_seed)
    return torch.randint(256, (height, width, 3), generator=generator).to(torch.uint8)


def labels(network, pixels, **changes):
    return predict.predict_labels(network, pixels, config.Predict(**changes), CPU)


@pytest.mark.parametrize("size", [(48, 48), (47, 31), (1, 1), (7, 65), (33, 2)])
@pytest.mark.parametrize("crf", ["none", "deeplab"])
def test_images_of_any_size_keep_it(network, size, crf):
    found = labels(network, image(*size), scales=(0.5, 1.0), flip=True, crf=crf)
    assert found.shape == size
    assert found.dtype == torch.uint8
    assert found.max() < 7


@pytest.mark.parametrize(
    "change",
    [
        {"scales": (0.5,)},
        {"flip": True},
        {"crf": "deeplab"},
        {"crf": "seeds"},
        {"presence": 8.0},
    ],
    ids=str,
)
def test_every_knob_is_alive(network, change):
    pixels = image(48, 40)
    assert not torch.equal(labels(network, pixels), labels(network, pixels, **change))


@pytest.mark.parametrize("crf", ["none", "deeplab"])
def test_scores_of_a_batch_are_those_of_its_images(network, crf):
    images = [image(24, 32, seed) for seed in range(3)]
    settings = config.Predict(crf=crf)
    together = predict.predict_scores(network, images, settings, CPU)
    assert together.shape == (3, 7, 24, 32)
    for pixels, scores in zip(images, together, strict=True):
        alone = predict.predict_scores(network, [pixels], settings, CPU)[0]
        torch.testing.assert_close(scores, alone, atol=1e-4, rtol=1e-4)
        assert torch.equal(labels(network, pixels, crf=crf), alone.argmax(0).byte())


@pytest.mark.parametrize("crf", ["none", "deeplab"])
def test_presence_weighs_what_the_crf_sees(network, subjects, tmp_path, crf):
    found = predicted(
        network, subjects[:1], tmp_path, config.Predict(crf=crf, presence=8.0)
    )
    pixels = torch.from_numpy(read_image(subjects[0].path))
    scores = predict.predict_scores(network, [pixels], config.Predict(), CPU)
    scores = weigh_by_presence(scores, strength=8.0)[0]
    if crf == "deeplab":
        scores = dense_crf(scores.softmax(0), pixels, preset=crf, min_score=0.01)
    assert torch.equal(found["sub/0"], scores.argmax(0).byte())


def test_precision_reaches_the_network(network):
    seen = []
    hook = network.dropout.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.dtype)
    )
    labels(network, image(16, 16))
    labels(network, image(16, 16), precision="bf16")
    hook.remove()
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("step", ["class_logits", "weigh_by_presence", "dense_crf"])
def test_full_memory_says_which_knobs_need_less_of_it(network, monkeypatch, step):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU")

    monkeypatch.setattr(predict, step, full)
    with pytest.raises(TrainingError) as caught:
        labels(network, image(8, 8), presence=1.0, crf="deeplab")
    assert str(caught.value) == (
        "the device's memory is full (CUDA out of memory): lower `scales` of predict "
        "or of segment.second_round, set their `precision` to 'bf16', their `crf` to "
        "'none', or use --device cpu"
    )


@pytest.fixture
def subjects(tmp_path):
    found = []
    for number, (height, width) in enumerate([(48, 40), (31, 17), (48, 40)]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(image(height, width, number).numpy()).save(path)
        found.append(predict.Subject(f"sub/{number}", path))
    return found


def predicted(network, subjects, folder, settings):
    predict.run(network, subjects, settings, folder, runtime=Runtime(workers=1))
    return LabelFolder(folder)


def test_an_image_does_not_depend_on_its_company(network, subjects, tmp_path):
    settings = config.Predict(scales=(0.75, 1.0), flip=True)
    together = predicted(network, subjects, tmp_path / "all", settings)
    assert list(together) == ["sub/0", "sub/1", "sub/2"]
    for subject in subjects:
        alone = predicted(network, [subject], tmp_path / subject.name, settings)
        assert torch.equal(alone[subject.name], together[subject.name])


@pytest.mark.parametrize("crf", ["none", "deeplab"])
def test_threads_change_no_label(network, subjects, tmp_path, crf):
    settings = config.Predict(crf=crf)
    one = predicted(network, subjects, tmp_path / "one", settings)
    runtime = Runtime(workers=3)
    predict.run(network, subjects, settings, tmp_path / "three", runtime=runtime)
    three = LabelFolder(tmp_path / "three")
    assert list(three) == list(one)
    assert all(torch.equal(three[name], one[name]) for name in one)


def test_crfs_of_a_cpu_run_in_several_threads(network, subjects, tmp_path, monkeypatch):
    # each waits for the other, which only two threads can do
    meeting = threading.Barrier(2, timeout=20)

    def wait(scores, _image, **_):
        meeting.wait()
        return scores

    monkeypatch.setattr(predict, "dense_crf", wait)
    predict.run(
        network,
        subjects[:2],
        config.Predict(crf="deeplab"),
        tmp_path / "out",
        runtime=Runtime(workers=2),
    )
    assert len(LabelFolder(tmp_path / "out")) == 2


def test_finished_images_are_left_alone(network, subjects, tmp_path):
    mark = torch.tensor([[6]], dtype=torch.uint8)
    write_labels(tmp_path / "out", "sub/1", mark)
    found = predicted(network, subjects, tmp_path / "out", config.Predict())
    assert torch.equal(found["sub/1"], mark)
    assert found["sub/0"].shape == (48, 40)
