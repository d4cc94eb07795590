import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from tag2mask.engine.optimizers import RateFactors, make_optimizer, make_schedule
from tag2mask.functional.schedules import cosine, poly

KNOBS = {
    "kind": "sgd",
    "learning_rate": 0.1,
    "factors": RateFactors(head=10.0),
    "momentum": 0.9,
    "weight_decay": 0.01,
}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.headlight = nn.Linear(2, 2)  # no part of the head
        self.neck = nn.Identity()
        self.head = nn.ModuleList([nn.Linear(2, 1)])

    def forward(self, inputs):
        return self.head[0](self.neck(self.headlight(self.body(inputs))))


def names(model, group):
    of = {id(parameter): name for name, parameter in model.named_parameters()}
    return {of[id(parameter)] for parameter in group["params"]}


def test_head_has_a_group_and_a_rate_of_its_own():
    model = Network()
    body, head = make_optimizer(model, **KNOBS).param_groups
    assert names(model, body) == {
        "body.weight", "body.bias", "headlight.weight", "headlight.bias",
    }  # fmt: skip
    assert names(model, head) == {"head.0.weight", "head.0.bias"}
    assert (body["lr"], head["lr"]) == (0.1, 1.0)


def test_a_neck_learns_as_fast_as_the_head():
    model = Network()
    model.neck = nn.Linear(2, 2)
    _, head = make_optimizer(model, **KNOBS).param_groups
    assert {"neck.weight", "neck.bias"} < names(model, head)


def test_biases_have_groups_and_rates_of_their_own():
    # 1, 2, 10 and 20 times the rate, as the field trains ResNet38
    model = Network()
    knobs = KNOBS | {"factors": RateFactors(head=10.0, bias=2.0)}
    groups = make_optimizer(model, **knobs).param_groups
    assert [names(model, group) for group in groups] == [
        {"body.weight", "headlight.weight"},
        {"body.bias", "headlight.bias"},
        {"head.0.weight"},
        {"head.0.bias"},
    ]
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.2, 1.0, 2.0])


def test_frozen_parameters_take_no_part():
    model = Network()
    model.body.requires_grad_(False)
    model.headlight.weight.requires_grad_(False)
    body, _ = make_optimizer(model, **KNOBS).param_groups
    assert names(model, body) == {"headlight.bias"}


def test_wholly_frozen_body_leaves_the_head_alone():
    model = Network()
    model.body.requires_grad_(False)
    model.headlight.requires_grad_(False)
    (head,) = make_optimizer(model, **KNOBS).param_groups
    assert head["lr"] == 1.0


@pytest.mark.parametrize(("kind", "expected"), [("sgd", SGD), ("adamw", AdamW)])
def test_kind_chooses_the_optimiser(kind, expected):
    assert type(make_optimizer(Network(), **KNOBS | {"kind": kind})) is expected


def trained(steps=3, **changes):
    """Return the weights after a few steps, body first."""
    torch.manual_seed(0)
    model = Network()
    optimizer = make_optimizer(model, **KNOBS | {"learning_rate": 1e-3} | changes)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).square().sum().backward()
        optimizer.step()
    return torch.cat([each.detach().flatten() for each in model.parameters()])


@pytest.mark.parametrize(
    ("kind", "knob", "value"),
    [
        ("sgd", "learning_rate", 2e-3),
        ("sgd", "factors", RateFactors(head=1.0)),
        ("sgd", "factors", RateFactors(head=10.0, bias=2.0)),
        ("sgd", "momentum", 0.0),
        ("sgd", "weight_decay", 0.5),
        ("adamw", "learning_rate", 2e-3),
        ("adamw", "factors", RateFactors(head=1.0)),
        ("adamw", "factors", RateFactors(head=10.0, bias=2.0)),
        ("adamw", "weight_decay", 0.5),
    ],
)
def test_every_knob_is_alive(kind, knob, value):
    one, other = trained(kind=kind), trained(kind=kind, **{knob: value})
    assert not torch.equal(one, other)


def test_momentum_is_none_of_adamw():
    one, other = trained(kind="adamw"), trained(kind="adamw", momentum=0.0)
    assert torch.equal(one, other)


def rates(kind, *, steps=4, power=2.0, warmup=1, last_factor=0.0):
    optimizer = make_optimizer(Network(), **KNOBS)
    schedule = make_schedule(
        optimizer,
        kind=kind,
        steps=steps,
        power=power,
        warmup=warmup,
        last_factor=last_factor,
    )
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


def test_schedule_multiplies_both_rates():
    factors = [poly(step, steps=4, power=2.0, warmup=1) for step in range(4)]
    expected = [[0.1 * factor, 1.0 * factor] for factor in factors]
    for found, wanted in zip(rates("poly"), expected, strict=True):
        assert found == pytest.approx(wanted)


def test_cosine_is_the_other_schedule():
    expected = [0.1 * cosine(step, steps=4, warmup=1) for step in range(4)]
    assert [body for body, _ in rates("cosine")] == pytest.approx(expected)


def test_power_and_warmup_are_alive():
    assert rates("poly") != rates("poly", power=1.0)
    assert rates("poly") != rates("poly", warmup=2)
    assert rates("cosine") != rates("cosine", warmup=2)
    assert rates("cosine") == rates("cosine", power=1.0)


@pytest.mark.parametrize("kind", ["poly", "cosine"])
def test_last_factor_is_where_the_rate_ends(kind):
    # 5e-3 down to 1e-4 is a factor of 0.02; the last of 1,000 updates is just above it
    (first, _), *_, (last, _) = rates(kind, steps=1000, warmup=0, last_factor=0.02)
    assert first == pytest.approx(0.1)
    assert 0.002 <= last < 0.0022
    assert rates(kind, last_factor=0.02) != rates(kind)
