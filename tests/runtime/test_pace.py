"""The interval of saves: the closed form, and what a run makes of its measured cost."""

from __future__ import annotations

import math

import pytest

from dskc.runtime import pace
from dskc.runtime.mesh import Mesh


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "time", made)
    return made


@pytest.mark.parametrize(("cost", "mtbf"), [(0.5, 21_600.0), (20.0, 3_600.0), (120.0, 86_400.0)])
def test_no_other_interval_loses_less(cost: float, mtbf: float) -> None:
    """To first order a second of training loses cost / t to saves and t / (2 mtbf) to failures."""

    def lost(t: float) -> float:
        return cost / t + t / (2 * mtbf)

    best = pace.interval(cost, mtbf)
    assert best == pytest.approx(math.sqrt(2 * cost * mtbf))
    assert all(lost(best) < lost(best * factor) for factor in (0.5, 0.9, 1.1, 2.0))


def test_a_save_that_costs_more_than_failures_do() -> None:
    assert pace.interval(1_000.0, 100.0) == 100.0


def test_the_first_save_is_early_and_the_next_by_its_cost(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    made = pace.Pace(mtbf=3_200.0, step=40, mesh=Mesh())
    assert [step for step in range(41, 52) if made.due(step)] == [50, 51]
    clock.now = 22.0  # nine steps of 2 s and a save of 4 s
    made.saved(50, pace.Cost(4.0))
    assert not made.due(129)
    assert made.due(130)
    assert "a checkpoint every 80 steps (2:40): one stalls training for 4 s, and a failure is expected every 53:20" in (
        capsys.readouterr().out
    )


def test_a_budget_bounds_it(clock: Clock) -> None:
    made = pace.Pace(mtbf=3_200.0, step=0, mesh=Mesh(), most=61.0)
    assert not made.due(1)
    clock.now = 22.0
    made.saved(10, pace.Cost(4.0))
    assert not made.due(39)
    assert made.due(40)


def test_none_comes_before_the_last_is_written(clock: Clock) -> None:
    made = pace.Pace(mtbf=3_200.0, step=0, mesh=Mesh())
    assert not made.due(1)
    clock.now = 22.0
    made.saved(10, pace.Cost(stall=4.0, writing=241.0))
    assert not made.due(129)
    assert made.due(130)


def test_a_step_longer_than_the_interval_is_saved_every_time(clock: Clock) -> None:
    made = pace.Pace(mtbf=10.0, step=0, mesh=Mesh())
    assert not made.due(9)
    clock.now = 10_000.0
    made.saved(10, pace.Cost(0.001))
    assert made.due(11)


def test_the_first_step_is_no_measure(clock: Clock) -> None:
    made = pace.Pace(mtbf=3_200.0, step=0)
    clock.now = 500.0  # it compiles
    assert not made.due(1)
    clock.now += 22.0
    made.saved(10, pace.Cost(4.0))
    assert not made.due(89)
    assert made.due(90)


def test_a_save_after_the_first_step_measures_nothing(clock: Clock) -> None:
    made = pace.Pace(mtbf=3_200.0, step=9)
    assert not made.due(10)
    made.saved(10, pace.Cost(4.0))
    assert made.due(11)
