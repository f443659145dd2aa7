"""The layouts that a search rates best, timed by simulation and planned in full: what `dskc plan` would say of them."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from ...dsl.spec import Spec
from ..build import make_plan
from ..lower import Lowered
from ..memory import memory_of
from ..refused import Refused
from .choice import Choice, spec_of
from .predict import step_of
from .step import step_time
from .tables import Tables

LOW = 0.8
"""The least share of its closed form that a step takes by simulation; what is timed already is not timed later."""
MOST_TIMED = 200
MOST_PLANNED = 24

Rated = tuple[float, Choice]


@dataclass(frozen=True)
class Confirmed:
    """A choice with the seconds of its step and the bytes of its fullest rank."""

    choice: Choice
    seconds: float
    memory: float


def confirmed(
    spec: Spec, lowered: Lowered, tables: Tables, rated: list[Rated], top: int
) -> tuple[list[Confirmed], list[Rated], list[Confirmed]]:
    """(the best that fit, the slower ones, those that do not fit after all); `rated` is sorted."""
    best: list[Confirmed] = []
    unfit: list[Confirmed] = []
    queue = [(seconds * LOW, choice.key, False, seconds, choice) for seconds, choice in rated]
    heapify(queue)
    timed = 0
    while queue and len(best) < top and len(best) + len(unfit) < max(MOST_PLANNED, 2 * top):
        _, key, is_exact, seconds, choice = heappop(queue)
        if not is_exact and timed < MOST_TIMED:
            timed += 1
            seconds = _exact(tables, spec, choice)
            heappush(queue, (seconds, key, True, seconds, choice))
            continue
        found = _planned(spec, lowered, choice)
        fits = tables.machine.memory is None or found.memory <= tables.machine.memory
        (best if fits else unfit).append(found)
    rest = sorted((seconds, key, choice) for _, key, _, seconds, choice in queue)
    best.sort(key=lambda each: (each.seconds, each.choice.key))
    return best, [(seconds, choice) for seconds, _, choice in rest], unfit


def _exact(tables: Tables, spec: Spec, choice: Choice) -> float:
    parts = tables.parts(choice)
    assert parts is not None, "it was rated"
    return step_time(parts, choice.layout, spec, tables.machine, choice.accumulation, tables.again(choice)).seconds


def _planned(spec: Spec, lowered: Lowered, choice: Choice) -> Confirmed:
    """A choice planned in full; of infinite size where a pass refuses it."""
    chosen = spec_of(spec, choice)
    try:
        plan = make_plan(chosen, lowered)
    except Refused:
        return Confirmed(choice, float("inf"), float("inf"))
    return Confirmed(choice, step_of(plan, chosen).seconds, max(entry.peak for entry in memory_of(plan, chosen)))


def memory_needed(spec: Spec, lowered: Lowered, choice: Choice) -> float:
    """Bytes of the fullest rank of a choice."""
    return _planned(spec, lowered, choice).memory
