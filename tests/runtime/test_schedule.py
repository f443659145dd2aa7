"""Schedules against PyTorch's, and their values at the ends."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from dskc.runtime import schedule

STEPS, WARMUP, FLOOR = 50, 7, 0.1


def torch_rates(after: str) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rest = STEPS - WARMUP
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / WARMUP, total_iters=WARMUP - 1)
    fall = {
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=rest, eta_min=FLOOR),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=FLOOR, total_iters=rest),
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=rest),
    }[after]()
    both = lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[WARMUP])
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        both.step()
    return rates


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_equals_pytorch(name: str) -> None:
    ours = {
        "cosine": lambda step: schedule.cosine(step, STEPS, WARMUP, FLOOR),
        "linear": lambda step: schedule.linear(step, STEPS, WARMUP, FLOOR),
        "constant": lambda step: schedule.constant(step, WARMUP),
    }[name]
    assert [ours(step) for step in range(STEPS)] == pytest.approx(torch_rates(name), abs=1e-12)


def test_ends() -> None:
    assert schedule.cosine(0, 100, warmup=10) == pytest.approx(0.1)
    assert schedule.cosine(9, 100, warmup=10) == 1.0
    assert schedule.cosine(100, 100, warmup=10, floor=0.25) == pytest.approx(0.25)
    assert schedule.cosine(500, 100, warmup=10, floor=0.25) == pytest.approx(0.25)
    assert schedule.linear(0, 100) == 1.0
    assert schedule.constant(0) == 1.0


def test_a_warmup_as_long_as_the_run_only_rises() -> None:
    assert [schedule.cosine(step, 4, warmup=4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
