"""The layouts that a search rates best, timed by simulation and planned in full: what `dskc plan` would say of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from ...dsl.spec import Spec
from ..build import make_plan
from ..lower import Lowered
from ..memory import memory_of
from ..refused import Refused
from .choice import Choice, spec_of
from .predict import step_of
from .step import work_items
from .tables import Tables

LOW, LOWEST = 0.92, 0.6
"""The least share of its closed form that a step takes by simulation; with fewer micro-batches than stages."""
ROUNDS = 3
"""Micro-batches per stage after which a pipeline holds as much as it ever does."""
MOST_SIMULATED = 60_000
"""Work items of pipelines that are simulated in all."""
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
    queue = [(seconds * _least(choice), choice.key, False, seconds, choice) for seconds, choice in rated]
    heapify(queue)
    simulated = 0
    while queue and len(best) < top and len(best) + len(unfit) < max(MOST_PLANNED, 2 * top):
        _, key, is_exact, seconds, choice = heappop(queue)
        if not is_exact and simulated < MOST_SIMULATED:
            simulated += work_items(choice.layout, choice.accumulation)
            seconds = tables.timed(choice)
            heappush(queue, (seconds, key, True, seconds, choice))
            continue
        found = _planned(spec, lowered, choice)
        fits = tables.machine.memory is None or found.memory <= tables.machine.memory
        (best if fits else unfit).append(found)
    rest = sorted((seconds, key, choice) for _, key, _, seconds, choice in queue)
    best.sort(key=lambda each: (each.seconds, each.choice.key))
    return best, [(seconds, choice) for seconds, _, choice in rest], unfit


def _least(choice: Choice) -> float:
    return LOWEST if choice.accumulation < choice.layout.pipeline else LOW if choice.layout.pipeline > 1 else 1.0


def _planned(spec: Spec, lowered: Lowered, choice: Choice) -> Confirmed:
    """A choice planned in full; of infinite size where a pass refuses it."""
    chosen = spec_of(spec, choice)
    try:
        plan = make_plan(chosen, lowered)
    except Refused:
        return Confirmed(choice, float("inf"), float("inf"))
    depth = choice.layout.pipeline
    few = min(choice.accumulation, ROUNDS * depth + choice.accumulation % depth)
    held = memory_of(plan, spec_of(spec, replace(choice, accumulation=few)))
    return Confirmed(choice, step_of(plan, chosen).seconds, max(entry.peak for entry in held))


def memory_needed(spec: Spec, lowered: Lowered, choice: Choice) -> float:
    """Bytes of the fullest rank of a choice."""
    return _planned(spec, lowered, choice).memory
