"""The layouts that a search rates best, timed by simulation and planned in full: what `dskc plan` would say of them."""

from __future__ import annotations

from dataclasses import dataclass

from ...dsl.spec import Spec
from ..build import make_plan
from ..lower import Lowered
from ..memory import memory_of
from ..refused import Refused
from .choice import Choice, spec_of
from .step import step_time
from .tables import Tables

CLOSE = 1.1
"""Layouts whose closed form is within this of the best are timed by simulation."""
MOST_TIMED = 60
MOST_PLANNED = 24

Rated = tuple[float, Choice]


@dataclass(frozen=True)
class Confirmed:
    """A choice with the seconds of its step and the bytes of its fullest rank, the allocator's included."""

    choice: Choice
    seconds: float
    memory: float


def confirmed(
    spec: Spec, lowered: Lowered, tables: Tables, rated: list[Rated], top: int
) -> tuple[list[Confirmed], list[Rated], list[Confirmed]]:
    """(the best that fit, the slower ones, those that do not fit after all); `rated` is sorted."""
    best: list[Confirmed] = []
    unfit: list[Confirmed] = []
    rest = list(rated)
    while rest and len(best) < top and len(best) + len(unfit) < max(MOST_PLANNED, 2 * top):
        count = _close(rest)
        timed = sorted(
            ((_exact(tables, spec, choice), choice) for _, choice in rest[:count]), key=lambda e: (e[0], e[1].key)
        )
        rest = rest[count:]
        while timed and len(best) < top and len(best) + len(unfit) < max(MOST_PLANNED, 2 * top):
            seconds, choice = timed.pop(0)
            planned = _planned(spec, lowered, seconds, choice)
            fits = tables.machine.memory is None or planned.memory <= tables.machine.memory
            (best if fits else unfit).append(planned)
        rest = sorted(timed + rest, key=lambda e: (e[0], e[1].key))
    return sorted(best, key=lambda e: (e.seconds, e.choice.key)), rest, unfit


def _close(rated: list[Rated]) -> int:
    limit = rated[0][0] * CLOSE
    return max(1, min(MOST_TIMED, sum(seconds <= limit for seconds, _ in rated[:MOST_TIMED])))


def _exact(tables: Tables, spec: Spec, choice: Choice) -> float:
    parts = tables.parts(choice)
    assert parts is not None, "it was rated"
    return step_time(parts, choice.layout, spec, tables.machine, choice.accumulation, tables.again(choice)).seconds


def _planned(spec: Spec, lowered: Lowered, seconds: float, choice: Choice) -> Confirmed:
    chosen = spec_of(spec, choice)
    try:
        plan = make_plan(chosen, lowered)
    except Refused:
        return Confirmed(choice, seconds, float("inf"))
    return Confirmed(choice, seconds, max(entry.peak + entry.margin for entry in memory_of(plan, chosen)))
