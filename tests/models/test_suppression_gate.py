import jaxtyping
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from image_text_fakes import write_clip
from tag2mask.data.toy import draw_scene
from tag2mask.data.toy_grounds import WORDS
from tag2mask.functional.background_gate import Motion
from tag2mask.models.image_text.clip import load_clip
from tag2mask.models.image_text.tiny import load_tiny
from tag2mask.models.suppression_gate import SuppressionGate

NUM_CLASSES = 4
CLIP = (0.22, 0.03)
CONSE = (0.13, 0.08)


def draw(mean, deviation, *, num_pairs=6, num_prompts=20):
    """Cosines of one pair have something in common, as those of one image do."""
    common, own = torch.randn(num_pairs, 1), torch.randn(num_pairs, num_prompts)
    classes = torch.randint(NUM_CLASSES, (num_pairs,))
    return mean + deviation * (0.6 * common + 0.8 * own), classes


def watch(gate, steps, cosines=CLIP):
    for _ in range(steps):
        gate(*draw(*cosines))
    return gate


def height(gate):
    """Thresholds above the mean, in deviations."""
    return (gate.theta - gate.mean) / gate.deviation


def one(*similarities):
    return torch.tensor([similarities]), torch.tensor([0])


@pytest.fixture
def _unchecked(monkeypatch):
    """Without checks of shapes, which take most of the time of thousands of calls."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def watch_two_models(gate):
    """Show 2,000 batches: classes 0 and 1 as CLIP sees them, 2 and 3 as ConSE does."""
    for _ in range(2000):
        standard, classes = draw(0, 1)
        center, deviation = torch.tensor([CLIP, CLIP, CONSE, CONSE])[classes].T
        gate(center[:, None] + deviation[:, None] * standard, classes)


@pytest.mark.usefixtures("_unchecked")
def test_unguarded_the_threshold_leaves():
    gate = SuppressionGate(NUM_CLASSES, motion=Motion(pull=0.0))
    watch_two_models(gate)
    assert (height(gate) > 2.8).all()
    assert gate.find_idle_classes().closed == (0, 1, 2, 3)
    # of a normal distribution, 0.00135 lie above three deviations, the bound
    assert gate.passing.amax() < 0.005


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize(("mode", "where"), [("adaptive", 0.99), ("quantile", 0.84)])
def test_guarded_the_threshold_stays(mode, where):
    # 0.2 lie above 0.84 deviations; the drift of about 0.04 leaves 0.16, above 0.99
    gate = SuppressionGate(NUM_CLASSES, mode=mode)
    watch_two_models(gate)
    assert (height(gate) - where).abs().amax() < 0.3
    assert gate.passing.amin() > 0.1
    assert gate.passing.amax() < 0.3
    assert gate.find_idle_classes() == ((), ())


@pytest.fixture(scope="module", params=["tiny", "clip"])
def cosines_of_scenes(request, tmp_path_factory):
    """Cosines of scenes with the background prompts of each class, by two models."""
    if request.param == "tiny":
        teacher = load_tiny()
    else:
        folder = tmp_path_factory.mktemp("clip")
        write_clip(folder)
        teacher = load_clip(str(folder))
    side = (teacher.image_size, teacher.image_size)
    scenes = [draw_scene(np.random.default_rng([7, i]), 64) for i in range(150)]
    pictures = torch.stack([torch.from_numpy(each.image) for each in scenes])
    mean, std = (torch.tensor(each) for each in (teacher.mean, teacher.std))
    inputs = ((pictures / 255 - mean) / std).permute(0, 3, 1, 2)
    seen = teacher.encode_images(interpolate(inputs, side, mode="bilinear"))
    texts = teacher.encode_texts([f"a photo of {word}." for word in WORDS])
    return (seen @ texts.T).detach()


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("mode", ["adaptive", "quantile"])
def test_guarded_the_threshold_stays_on_what_models_see(cosines_of_scenes, mode):
    gate = SuppressionGate(NUM_CLASSES, mode=mode)
    for _ in range(2000):
        chosen = torch.randint(len(cosines_of_scenes), (6,))
        gate(cosines_of_scenes[chosen], chosen % NUM_CLASSES)
    bound = Motion().bound
    assert height(gate).abs().amax() < bound - 0.1
    assert gate.passing.amin() > 0.05
    assert gate.passing.amax() < 0.5
    assert gate.find_idle_classes() == ((), ())


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("mode", ["adaptive", "quantile"])
@pytest.mark.parametrize("start", [-1.0, 0.9])
def test_a_start_out_of_reach_is_recovered_from(mode, start):
    gate = watch(SuppressionGate(NUM_CLASSES, mode=mode, theta=start), 400)
    assert (height(gate) - 0.9).abs().amax() < 0.5
    assert gate.find_idle_classes() == ((), ())


@pytest.mark.usefixtures("_unchecked")
def test_thresholds_follow_the_similarities():
    gate = watch(SuppressionGate(NUM_CLASSES, mode="quantile"), 300)
    watch(gate, 300, (0.4, 0.03))
    assert (gate.mean - 0.4).abs().amax() < 0.05
    assert 0.05 < gate.read().passing < 0.4


@pytest.mark.usefixtures("_unchecked")
def test_each_class_has_its_own_threshold():
    gate = SuppressionGate(2, mode="quantile")
    classes = torch.tensor([0, 0, 1, 1])
    for _ in range(100):
        s, _ = draw(*CLIP, num_pairs=4)
        gate(s + 0.3 * classes.unsqueeze(1), classes)
    assert (gate.theta[1] - gate.theta[0]).item() == pytest.approx(0.3, abs=0.05)


def test_a_class_that_is_not_shown_stays_as_it_is():
    gate = watch(SuppressionGate(NUM_CLASSES), 50)
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    gate(*one(0.2, 0.3))
    for name, value in gate.state_dict().items():
        assert torch.equal(value[1:], before[name][1:])
        assert value[0] != before[name][0]


def test_without_a_pair_nothing_changes():
    gate = watch(SuppressionGate(NUM_CLASSES), 5)
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    nothing = torch.zeros(0, 20), torch.zeros(0, dtype=torch.int64)
    assert gate(*nothing).shape == (0, 20)
    assert gate.eval()(*nothing).shape == (0, 20)
    for name, value in gate.state_dict().items():
        assert torch.equal(value, before[name])


def test_running_mean_and_variance():
    # 0.1, 0.3: mean 0.2, variance 0.01; 0.4, 0.6: mean 0.5, variance 0.01
    # together: mean 0.35, variance 0.01 + (1/2)(1/2)(0.5 - 0.2)^2 = 0.0325
    gate = SuppressionGate(1)
    gate(*one(0.1, 0.3))
    assert gate.mean.item() == pytest.approx(0.2)
    assert gate.variance.item() == pytest.approx(0.01)
    gate(*one(0.4, 0.6))
    assert gate.mean.item() == pytest.approx(0.35)
    assert gate.variance.item() == pytest.approx(0.0325)


def test_pairs_of_one_class_count_together():
    together = SuppressionGate(1)
    together(torch.tensor([[0.1, 0.3], [0.4, 0.6]]), torch.tensor([0, 0]))
    assert together.mean.item() == pytest.approx(0.35)
    assert together.variance.item() == pytest.approx(0.0325)
    assert together.num_batches.tolist() == [1]


@pytest.mark.usefixtures("_unchecked")
def test_running_numbers_forget():
    gate = SuppressionGate(1, mode="fixed", theta=0.5)
    for _ in range(300):
        gate(*one(0.9, 0.9))
    assert gate.passing.item() == pytest.approx(1)
    for _ in range(100):
        gate(*one(0.1, 0.1))
    # 0.99^100 = 0.366032 of what was
    assert gate.passing.item() == pytest.approx(0.366032, abs=1e-4)
    assert gate.mean.item() == pytest.approx(0.1 + 0.8 * 0.366032, abs=1e-4)


def test_a_class_starts_at_the_normal_quantile():
    # mean 0.2, deviation 0.1: 0.2 + 0.841621 * 0.1, and by 0.4 at 0.2 - 0.253347 * 0.1
    for quantile, start in ((0.8, 0.2841621), (0.4, 0.1746653)):
        gate = SuppressionGate(
            1, mode="quantile", quantile=quantile, motion=Motion(rate=1e-9)
        )
        assert gate(*one(0.1, 0.3)).tolist() == [[0, 1]]
        assert gate.theta.item() == pytest.approx(start, abs=1e-6)


def test_mode_theta_and_quantile_are_alive():
    def theta(**knobs):
        torch.manual_seed(0)
        return watch(SuppressionGate(NUM_CLASSES, **knobs), 30).theta.tolist()

    found = [
        theta(),
        theta(mode="quantile"),
        theta(mode="fixed", theta=0.2),
        theta(theta=0.2),
        theta(quantile=0.6),
        theta(mode="quantile", quantile=0.6),
    ]
    assert len({tuple(each) for each in found}) == len(found)
    assert found[2] == pytest.approx([0.2] * NUM_CLASSES)


@pytest.mark.parametrize("name", Motion._fields)
def test_every_knob_of_the_motion_is_alive(name):
    def theta(**knobs):
        torch.manual_seed(0)
        gate = SuppressionGate(
            NUM_CLASSES, motion=Motion(rate=2.0)._replace(**knobs), theta=0.2
        )
        return watch(gate, 30).theta

    value = getattr(Motion(rate=2.0), name)
    assert not torch.equal(theta(), theta(**{name: value / 6}))


def test_in_evaluation_mode_nothing_is_learnt():
    gate = watch(SuppressionGate(NUM_CLASSES), 20).eval()
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    s, classes = draw(*CLIP)
    gated = gate(s, classes)
    assert torch.equal(gated, (s >= gate.theta[classes].unsqueeze(1)).float())
    for name, value in gate.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_batch_is_gated_by_the_threshold_before_it_moves():
    gate = SuppressionGate(1, mode="quantile", theta=0.3, motion=Motion(rate=2.0))
    # all pass: theta rises by 2 * (1 - 0.2) * 0.05, above both
    assert gate(*one(0.31, 0.41)).tolist() == [[1, 1]]
    assert gate.theta.item() == pytest.approx(0.38)


def test_a_class_never_seen_passes_nothing():
    gate = SuppressionGate(NUM_CLASSES).eval()
    assert gate(*one(0.2, 0.9)).tolist() == [[0, 0]]
    assert gate.find_idle_classes() == ((), ())
    assert gate.read() == (0, 0)


@pytest.mark.parametrize("mode", ["adaptive", "quantile", "fixed"])
def test_a_resumed_gate_ends_with_the_same_bits(mode):
    def gate():
        return SuppressionGate(NUM_CLASSES, mode=mode, theta=0.25)

    whole = watch(gate(), 40)
    torch.manual_seed(1)
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    resumed = gate()
    resumed.load_state_dict(state)
    watch(whole, 40)
    torch.manual_seed(1)
    watch(resumed, 40)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_gate_has_no_parameter_and_gives_no_gradient():
    gate = SuppressionGate(NUM_CLASSES)
    assert list(gate.parameters()) == []
    s, classes = draw(*CLIP)
    assert not gate(s.requires_grad_(), classes).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_leaves_the_state_in_float32(dtype):
    half, exact = SuppressionGate(NUM_CLASSES), SuppressionGate(NUM_CLASSES)
    for _ in range(20):
        s, classes = draw(*CLIP)
        s = s.to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            gated = half(s, classes)
        assert gated.dtype == torch.float32
        assert torch.equal(gated, exact(s.float(), classes))
    for name, value in half.state_dict().items():
        assert torch.equal(value, exact.state_dict()[name])


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_similarities_that_all_agree_stay_finite(value):
    gate = SuppressionGate(1)
    for _ in range(5):
        gate(*one(value, value))
    assert all(each.isfinite().all() for each in gate.state_dict().values())


def test_idle_classes_are_named():
    gate = SuppressionGate(3, mode="fixed", theta=0.25)
    for _ in range(10):
        gate(torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.2, 0.3]]), torch.arange(3))
    idle = gate.find_idle_classes()
    assert idle.closed == (0,)
    assert idle.opened == (1,)
    # passing: 0, 1 and 1/2
    reading = gate.read()
    assert reading.passing.item() == pytest.approx(0.5)
    assert reading.theta.item() == pytest.approx(0.25)


def test_reading_is_of_the_classes_seen():
    gate = SuppressionGate(NUM_CLASSES, mode="fixed", theta=0.25)
    gate(*one(0.1, 0.3, 0.4, 0.5))
    assert gate.read().passing.item() == pytest.approx(0.75)
    assert gate.read().theta.item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"mode": "fixed"}, "a fixed gate needs theta, such as 0.26"),
        ({"theta": float("nan")}, "theta must be a number, got nan"),
        ({"quantile": 1.0}, "quantile must be between 0 and 1, got 1.0"),
        ({"motion": Motion(rate=0.0)}, "above 0 and pull not below, got Motion"),
        ({"motion": Motion(pull=-1.0)}, "above 0 and pull not below, got Motion"),
    ],
)
def test_arguments_out_of_range(knobs, message):
    with pytest.raises(ValueError, match=message):
        SuppressionGate(NUM_CLASSES, **knobs)
