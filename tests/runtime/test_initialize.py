"""Start values: the promised distributions, the same under any layout, and nothing left out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dskc.runtime.errors import RunError
from dskc.runtime.initialize import initialize

TABLE = {"normal(0.02)": ("*.weight",), "zeros": ("*.bias",)}


def pair() -> nn.ModuleDict:
    return nn.ModuleDict({"first": nn.Linear(64, 32), "second": nn.Linear(32, 64)})


def test_values_depend_on_seed_and_name_only() -> None:
    one, other = (
        pair(),
        nn.ModuleDict({"second": nn.Linear(32, 64), "new": nn.Linear(3, 3), "first": nn.Linear(64, 32)}),
    )
    initialize(one, TABLE, seed=3)
    torch.rand(100)
    initialize(other, TABLE, seed=3)
    assert torch.equal(one["first"].weight, other["first"].weight)
    assert torch.equal(one["second"].weight, other["second"].weight)
    assert not torch.equal(one["first"].weight.flatten(), one["second"].weight.flatten())
    initialize(other, TABLE, seed=4)
    assert not torch.equal(one["first"].weight, other["first"].weight)


@pytest.mark.parametrize(
    ("rule", "deviation"),
    [
        ("normal(0.5)", 0.5),
        ("normal", 0.02),
        ("uniform(0.3)", 0.3 / math.sqrt(3)),
        ("kaiming", math.sqrt(2 / 300)),
        ("kaiming(1)", math.sqrt(1 / 300)),
        ("constant(0.7)", 0.0),
        ("ones", 0.0),
        ("zeros", 0.0),
    ],
)
def test_rules(rule: str, deviation: float) -> None:
    model = nn.Linear(300, 400, bias=False)
    initialize(model, {rule: ("weight",)}, seed=1)
    mean = {"constant(0.7)": 0.7, "ones": 1.0}.get(rule, 0.0)
    assert float(model.weight.detach().mean()) == pytest.approx(mean, abs=0.01 * deviation + 1e-6)
    assert float(model.weight.detach().std()) == pytest.approx(deviation, rel=0.02, abs=1e-6)
    if rule.startswith("uniform"):
        assert float(model.weight.detach().abs().max()) < 0.3


def test_kaiming_equals_pytorchs_scale_for_convolutions() -> None:
    ours, theirs = nn.Conv2d(16, 64, 3, bias=False), nn.Conv2d(16, 64, 3, bias=False)
    initialize(ours, {"kaiming": ("weight",)}, seed=1)
    nn.init.kaiming_normal_(theirs.weight, nonlinearity="relu")
    assert float(ours.weight.detach().std()) == pytest.approx(float(theirs.weight.detach().std()), rel=0.05)


def test_shared_parameter_goes_by_its_first_name() -> None:
    model = pair()
    model["third"] = nn.Linear(32, 64)
    model["third"].weight = model["second"].weight
    initialize(model, TABLE, seed=3)
    alone = pair()
    initialize(alone, TABLE, seed=3)
    assert torch.equal(model["third"].weight, alone["second"].weight)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"ones": ("*.weight",)}, "no start value for first.bias, second.bias"),
        ({**TABLE, "ones": ("third.*",)}, "no parameter is called 'third.*'"),
        ({**TABLE, "ones": ("first.*",)}, "two start values for the parameter first.weight"),
        ({"normal(x)": ("*",)}, "needs a number"),
        ({"normal(0.1": ("*",)}, "unknown start value"),
        ({"constant": ("*",)}, r"constant\(...\)"),
        ({"__import__('os')": ("*",)}, "unknown start value"),
        ({"kaiming": ("*",)}, "at least two dimensions"),
    ],
)
def test_refuses(table: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(RunError, match=message):
        initialize(pair(), table, seed=1)
