import math
import re
import sys
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from tag2mask.data.sampling import Tickets
from tag2mask.engine.loop import CHECKPOINT, Learner, Length, Losses, fit
from tag2mask.engine.optimizers import RateFactors, make_optimizer, make_schedule
from tag2mask.engine.progress import Progress
from tag2mask.engine.runtime import Runtime
from tag2mask.engine.training_log import TrainingLog, read_log
from tag2mask.errors import ArtifactError, DatasetError, Tag2MaskError, TrainingError

STEPS = 6
FORKS = "ignore:.*use of fork:DeprecationWarning"


class CrashError(Exception):
    """Stands for a crash."""


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.dropout = nn.Dropout2d(0.5)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, images):
        return self.head(self.dropout(self.body(images).relu())).mean(dim=(1, 2, 3))


def draw(number, rng):
    noise = rng.standard_normal((3, 4, 4)).astype(np.float32)
    return {"image": torch.from_numpy(noise + number), "target": np.float32(number)}


def square_losses(model, batch, step):
    error = model(batch["image"]) - batch["target"]
    return Losses({"square": (error**2).mean()}, {"step": torch.tensor(step)})


class Training:
    """One training, with its knobs; ``train`` may be called again to resume."""

    def __init__(self, folder, **knobs):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.knobs = {
            "kind": "sgd",
            "losses_of": square_losses,
            "steps": STEPS,
            "clip_norm": None,
            "precision": "32",
            "workers": 1,
            "draw": draw,
            "tensorboard": False,
            "progress": Progress(),
            "learning_rate": 0.01,
            "warmup": 1,
            "batch": 2,
            "accumulate": 1,
        } | knobs

    def train(self, **changes):
        knobs = self.knobs | changes
        torch.manual_seed(3)
        model = Network()
        optimizer = make_optimizer(
            model,
            kind=knobs["kind"],
            learning_rate=knobs["learning_rate"],
            factors=RateFactors(head=2.0),
            momentum=0.9,
            weight_decay=0.01,
        )
        schedule = make_schedule(
            optimizer,
            kind="cosine",
            steps=knobs["steps"],
            power=1.0,
            warmup=knobs["warmup"],
        )
        fit(
            Learner(model, knobs["losses_of"], optimizer, schedule),
            Tickets(knobs["draw"], num_images=4, random_seed=0),
            Length(
                knobs["steps"],
                knobs["batch"],
                knobs["clip_norm"],
                knobs["precision"],
                knobs["accumulate"],
            ),
            folder=self.folder,
            runtime=Runtime(
                workers=knobs["workers"],
                progress=knobs["progress"],
                tensorboard=knobs["tensorboard"],
            ),
        )
        return {name: value.clone() for name, value in model.state_dict().items()}

    def interrupt(self, step, **changes):
        """Stop where the step before it is done, and that one is not begun."""

        def stop(model, batch, number):
            if number == step:
                raise CrashError
            return square_losses(model, batch, number)

        with pytest.raises(CrashError):
            self.train(losses_of=stop, **changes)


def are_equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


def test_objective_falls(tmp_path):
    Training(tmp_path, steps=40).train()
    losses = [float(row["square"]) for row in read_log(tmp_path)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("step", range(STEPS))
def test_interrupted_at_any_step_and_resumed_is_unbroken(tmp_path, kind, step):
    unbroken = Training(tmp_path / "unbroken", kind=kind).train()
    broken = Training(tmp_path / "broken", kind=kind)
    broken.interrupt(step)
    assert are_equal(broken.train(), unbroken)
    logs = [
        (tmp_path / each / "log.csv").read_text() for each in ("unbroken", "broken")
    ]
    assert logs[0] == logs[1]


@pytest.mark.filterwarnings(FORKS)
def test_processes_that_load_change_nothing(tmp_path):
    unbroken = Training(tmp_path / "unbroken").train()
    broken = Training(tmp_path / "broken", workers=2)
    broken.interrupt(3)
    assert are_equal(broken.train(), unbroken)


def test_a_finished_training_is_not_trained_further(tmp_path):
    training = Training(tmp_path)
    assert are_equal(training.train(), training.train())


def test_dropout_takes_part(tmp_path):
    """Otherwise the tests of resuming would not see the generator of its chance."""
    one = Training(tmp_path / "one").train()

    def without_chance(model, batch, step):
        model.eval()
        return square_losses(model, batch, step)

    other = Training(tmp_path / "other", losses_of=without_chance).train()
    assert not are_equal(one, other)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite_is_named_with_its_step(tmp_path, bad):
    def losses_of(model, batch, step):
        good = square_losses(model, batch, step).terms["square"]
        return Losses(
            {"good": good, "background": good * (bad if step == 3 else 1)}, {}
        )

    with pytest.raises(TrainingError, match=f"loss 'background' is {bad} at step 4;"):
        Training(tmp_path, losses_of=losses_of).train()


def test_gradient_that_is_not_finite_is_named_with_its_step(tmp_path):
    def losses_of(model, batch, step):
        # the root of nothing has no finite slope
        nothing = model(batch["image"]).sum() * (0 if step == 2 else 1)
        return Losses({"root": (nothing**2).sqrt()}, {})

    with pytest.raises(TrainingError, match="gradient's norm is nan at step 3"):
        Training(tmp_path, losses_of=losses_of, clip_norm=1.0).train()


def counted(model, batch, step):
    """One term in every step, another in odd ones; both count the steps."""
    none = 0 * model(batch["image"]).sum()
    terms = {"each": none + step}
    return Losses(terms | ({"odd": none + step} if step % 2 else {}), {})


def test_log_holds_the_mean_of_each_loss_since_the_row_before(tmp_path):
    Training(tmp_path, steps=120, losses_of=counted, warmup=0).train()
    rows = read_log(tmp_path)
    # 120 steps in rows of 120 // 50 = 2; steps 0 and 1 first, whose mean is 0.5
    assert [int(row["step"]) for row in rows] == list(range(2, 121, 2))
    assert [float(row["each"]) for row in rows[:3]] == [0.5, 2.5, 4.5]
    # the mean is over the steps that have the loss
    assert [float(row["odd"]) for row in rows[:3]] == [1, 3, 5]


def test_last_row_is_of_the_last_step(tmp_path):
    Training(tmp_path, steps=103, losses_of=counted).train()
    steps = [int(row["step"]) for row in read_log(tmp_path)]
    assert steps[-2:] == [102, 103]


def test_log_is_cut_where_a_resumed_training_begins(tmp_path):
    log = TrainingLog(tmp_path, done=0, tensorboard=False)
    for step in (2, 4, 6):
        log.write(step, {"loss": 1.0})
    TrainingLog(tmp_path, done=4, tensorboard=False).write(8, {"loss": 2.0, "new": 3.0})
    assert read_log(tmp_path) == [
        {"step": "2", "loss": "1", "new": ""},
        {"step": "4", "loss": "1", "new": ""},
        {"step": "8", "loss": "2", "new": "3"},
    ]


def test_no_log_has_no_rows(tmp_path):
    assert read_log(tmp_path) == []


def test_learning_rate_of_the_log_follows_the_schedule(tmp_path):
    Training(tmp_path, steps=4, warmup=1).train()
    rates = [float(row["learning_rate"]) for row in read_log(tmp_path)]
    # half the rate, then half a cosine over three steps from (1 + cos 0) / 2
    expected = [0.005] + [0.005 * (1 + math.cos(math.pi * k / 3)) for k in range(3)]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_clip_norm_is_alive_and_logged(tmp_path):
    free = Training(tmp_path / "free").train()
    clipped = Training(tmp_path / "clipped", clip_norm=0.01).train()
    assert not are_equal(free, clipped)
    # the norm before it was clipped
    assert float(read_log(tmp_path / "clipped")[0]["gradient_norm"]) > 0.01
    assert "gradient_norm" not in read_log(tmp_path / "free")[0]


def test_precision_is_alive(tmp_path):
    whole = Training(tmp_path / "whole").train()
    half = Training(tmp_path / "half", precision="bf16").train()
    assert not are_equal(whole, half)
    assert all(value.dtype == torch.float32 for value in half.values())


def test_checkpoint_holds_tensors_and_numbers_only(tmp_path):
    Training(tmp_path, steps=2).train()
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 2


def zeroed(path, share):
    """Blank a tenth of a file, from a share of its length on."""
    content = bytearray(path.read_bytes())
    begin, length = int(share * len(content)), len(content) // 10
    content[begin : begin + length] = bytes(length)
    path.write_bytes(content)


def other_network(path):
    saved = torch.load(path, weights_only=True)
    saved["model"]["head.weight"] = torch.zeros(2, 8, 1, 1)
    torch.save(saved, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage" * 99),
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_bytes(path.read_bytes()[:400]),
        lambda path: zeroed(path, 0.0),
        lambda path: zeroed(path, 0.5),
        lambda path: zeroed(path, 0.8),
        lambda path: torch.save({"step": 3}, path),
        lambda path: torch.save([1], path),
        other_network,
    ],
    ids=["empty", "garbage", "end cut", "cut", "head zeroed", "middle zeroed",
         "end zeroed", "other keys", "no table", "other shape"],
)  # fmt: skip
def test_damaged_checkpoint_is_told_and_training_begins_again(tmp_path, damage):
    unbroken = Training(tmp_path / "unbroken").train()
    told = StringIO()
    console = Console(file=told, width=500)
    broken = Training(tmp_path / "broken", progress=Progress(console))
    broken.interrupt(4)
    damage(tmp_path / "broken" / CHECKPOINT)
    assert are_equal(broken.train(), unbroken)
    line = rf"{tmp_path}/broken/{CHECKPOINT} is damaged \(.+\): this training begins"
    assert len(re.findall(line, told.getvalue())) == 1


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a,b\n1,2\n", b"step\nx\n", b"\0"])
def test_damaged_log_is_named(tmp_path, content):
    training = Training(tmp_path)
    training.interrupt(4)
    (tmp_path / "log.csv").write_bytes(content + b"\n1\n")
    with pytest.raises(ArtifactError, match=r"log\.csv cannot be read as a tra"):
        training.train()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB."), "CUDA out of m"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: "
                "can't allocate memory: you tried to allocate 9 bytes. Error code 12"
            ),
            "can't allocate memory: you tried to allocate 9 bytes):",
        ),
        (MemoryError("Unable to allocate 9 TiB for an array"), "Unable to allocate 9"),
        (MemoryError(), "no more can be had):"),
    ],
)
def test_full_memory_says_which_knobs_need_less_of_it(tmp_path, error, reason):
    def full(*_):
        raise error

    with pytest.raises(TrainingError) as caught:
        Training(tmp_path, losses_of=full).train()
    message = str(caught.value)
    assert message.startswith(f"the device's memory is full ({reason}")
    assert message.endswith(
        "raise accumulate, lower batch or crop, raise output_stride, or set "
        "precision = 'bf16'"
    )


def test_an_error_that_is_not_of_the_memory_stays_itself(tmp_path):
    def fail(*_):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Training(tmp_path, losses_of=fail).train()


@pytest.mark.filterwarnings(FORKS)
def test_bad_image_keeps_its_message_from_a_process_that_loads(tmp_path):
    def fail(*_):
        raise DatasetError("a.png: there is no such image")

    with pytest.raises(DatasetError) as caught:
        Training(tmp_path, draw=fail, workers=2).train()
    assert str(caught.value) == "a.png: there is no such image"


def test_tensorboard_logs_where_it_is_asked_for(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is absent")
    Training(tmp_path, steps=2, tensorboard=True).train()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"learning_rate" in events.read_bytes()


def test_missing_tensorboard_is_told_with_its_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(Tag2MaskError, match=r"pip install 'tag2mask\[tensorboard\]'"):
        Training(tmp_path, steps=2, tensorboard=True).train()


def test_progress_counts_the_steps_of_an_interrupted_training(tmp_path, monkeypatch):
    monkeypatch.setattr("tag2mask.engine.progress._SECONDS_BETWEEN_LINES", 0)
    told = StringIO()
    training = Training(tmp_path, progress=Progress(Console(file=told, width=80)))
    training.interrupt(4)
    training.train()
    lines = [line.split(",")[0] for line in told.getvalue().splitlines()]
    assert lines[:4] == [f"train: {n}/6" for n in (1, 2, 3, 4)]
    assert lines[4:6] == ["train: 5/6", "train: 6/6"]


def flat_losses(model, batch, step):
    """A mean over images, without dropout."""
    model.dropout.eval()
    return square_losses(model, batch, step)


def test_four_parts_of_two_are_a_batch_of_eight(tmp_path):
    whole, parts = (
        Training(tmp_path / str(n), batch=8, accumulate=n, losses_of=flat_losses)
        for n in (1, 4)
    )
    one, other = whole.train(), parts.train()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)
    assert [float(row["square"]) for row in read_log(tmp_path / "1")] == pytest.approx(
        [float(row["square"]) for row in read_log(tmp_path / "4")], 1e-3
    )


def labelled_losses(model, batch, _):
    """A mean over labelled places; every second image has but one of four."""
    model.dropout.eval()
    odd = (batch["target"] % 2 == 1).view(-1, 1)
    counts = torch.ones(len(odd), 4).masked_fill(
        odd & (torch.arange(4) > 0).view(1, 4), 0
    )
    error = (model(batch["image"]) - batch["target"]).view(-1, 1) ** 2
    return Losses({"mean": (error * counts).sum() / counts.sum()}, {})


def test_parts_with_other_numbers_of_labelled_pixels_are_a_mean_of_means(tmp_path):
    # images of four and of one labelled place: 4/5 and 1/5 together, 1/2 each alone
    def wanted(model, batch, _):
        model.dropout.eval()
        errors = (model(batch["image"]) - batch["target"]) ** 2
        return Losses({"mean": errors.mean()}, {})

    whole, parts, means = (
        Training(tmp_path / name, batch=2, accumulate=n, losses_of=losses_of).train()
        for name, n, losses_of in (
            ("whole", 1, labelled_losses),
            ("parts", 2, labelled_losses),
            ("means", 1, wanted),
        )
    )
    assert not torch.allclose(whole["body.weight"], parts["body.weight"], rtol=1e-3)
    torch.testing.assert_close(parts["body.weight"], means["body.weight"])


def test_interrupted_between_accumulated_steps_is_unbroken(tmp_path):
    unbroken = Training(tmp_path / "unbroken", accumulate=2).train()
    broken = Training(tmp_path / "broken", accumulate=2)
    broken.interrupt(3)
    assert are_equal(broken.train(), unbroken)


def test_loss_that_is_not_finite_in_one_part_is_named(tmp_path):
    def losses_of(model, batch, step):
        bad = math.nan if 1 in batch["target"] else 1
        return Losses(
            {"bad": square_losses(model, batch, step).terms["square"] * bad}, {}
        )

    with pytest.raises(TrainingError, match="loss 'bad' is nan at step"):
        Training(tmp_path, batch=4, accumulate=4, losses_of=losses_of).train()
