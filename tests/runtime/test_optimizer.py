"""Optimizers and clipping against PyTorch's plain ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dskc.runtime import guard, optimizer
from dskc.runtime.errors import RunError


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4))


def gradients(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def plain_groups(net: nn.Module, decay: float) -> list[dict[str, object]]:
    return [
        {"params": [p for p in net.parameters() if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_equals_pytorchs_single_tensor_loop(kind: str) -> None:
    ours, theirs = model(), model()
    if kind == "adamw":
        fast: torch.optim.Optimizer = optimizer.adamw(ours, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
        plain: torch.optim.Optimizer = torch.optim.AdamW(
            plain_groups(theirs, 0.1), lr=1e-2, betas=(0.9, 0.95), foreach=False, fused=False
        )
    else:
        fast = optimizer.sgd(ours, lr=1e-2, momentum=0.9, nesterov=True, weight_decay=0.1)
        plain = torch.optim.SGD(
            plain_groups(theirs, 0.1), lr=1e-2, momentum=0.9, nesterov=True, foreach=False, fused=False
        )
    for step in range(20):
        for net, chosen in ((ours, fast), (theirs, plain)):
            gradients(net, step)
            optimizer.set_rate(chosen, 1e-2 / (step + 1))
            chosen.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_matrices_decay_and_vectors_do_not() -> None:
    net = model()
    before = copy.deepcopy(net)
    adamw = optimizer.adamw(net, lr=0.1, weight_decay=0.5)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adamw.step()
    for now, then in zip(net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(now, then * (0.95 if then.ndim >= 2 else 1.0))


def test_decay_by_name() -> None:
    chosen = optimizer.groups(model(), 0.1, decay=("0.*",))
    assert [group["weight_decay"] for group in chosen] == [0.1, 0.0]
    assert [len(group["params"]) for group in chosen] == [2, 4]
    with pytest.raises(RunError, match=r"'head\.weight'"):
        optimizer.groups(model(), 0.1, decay=("head.weight",))


@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clip_equals_pytorch(limit: float) -> None:
    ours, theirs = model(), model()
    gradients(ours, 1)
    gradients(theirs, 1)
    norm = optimizer.clip_norm(ours, limit)
    assert float(norm) == pytest.approx(float(nn.utils.clip_grad_norm_(theirs.parameters(), limit, foreach=False)))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_without_limit_only_the_norm_is_taken() -> None:
    net = model()
    gradients(net, 1)
    before = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    norm = optimizer.clip_norm(net)
    assert float(norm) == pytest.approx(float(torch.cat([grad.flatten() for grad in before]).norm()))
    assert all(torch.equal(p.grad, b) for p, b in zip(net.parameters(), before, strict=True) if p.grad is not None)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_stops_the_run_by_its_step(bad: float) -> None:
    net = model()
    gradients(net, 1)
    assert net[0].weight.grad is not None
    net[0].weight.grad[0, 0] = bad
    with pytest.raises(guard.NonFiniteError, match=f"step 137: gradient_norm is {bad}"):
        guard.finite(137, loss=torch.tensor(1.0), gradient_norm=optimizer.clip_norm(net, 1.0))


def test_finite_values_come_back_as_numbers() -> None:
    assert guard.finite(1, loss=torch.tensor(1.5), gradient_norm=torch.tensor(2.0)) == {
        "loss": 1.5,
        "gradient_norm": 2.0,
    }
