"""Exact minimum of a sum of cost tables by elimination of variables (bucket elimination, Dechter 1999)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

Name = Hashable
Key = tuple[Any, ...]

LARGEST = 20_000
"""Entries of a table, above which the problem is given up as `TooWide`."""


class TooWide(Exception):
    """The variables hang together too much for exact elimination."""


@dataclass(frozen=True)
class Table:
    """Costs by the values of the variables `names`, in their order; what is not listed is impossible."""

    names: tuple[Name, ...]
    costs: Mapping[Key, float]


@dataclass(frozen=True)
class Step:
    """An eliminated variable: its best value for each choice of the variables `others`."""

    name: Name
    others: tuple[Name, ...]
    best: Mapping[Key, Any]


@dataclass(frozen=True)
class Minimum:
    """The least cost for each choice of the variables that were kept, and how to find the others."""

    names: tuple[Name, ...]
    costs: Mapping[Key, float]
    steps: tuple[Step, ...]

    def decide(self, key: Key) -> dict[Name, Any]:
        """The values of all variables at the least cost for a choice of the kept ones."""
        chosen: dict[Name, Any] = dict(zip(self.names, key, strict=True))
        for step in reversed(self.steps):
            chosen[step.name] = step.best[tuple(chosen[name] for name in step.others)]
        return chosen


def minimise(tables: Iterable[Table], keep: Sequence[Name]) -> Minimum:
    """Eliminates every variable but `keep`, the one with the smallest table of neighbours first."""
    remaining = list(tables)
    domains = _domains(remaining)
    waiting = [name for name in domains if name not in set(keep)]
    sizes: dict[Name, int] = {}
    steps: list[Step] = []
    while waiting:
        for name in waiting:
            if name not in sizes:
                sizes[name] = _neighbourhood(name, remaining, domains)
        name = min(waiting, key=sizes.__getitem__)
        waiting.remove(name)
        mine = [table for table in remaining if name in table.names]
        remaining = [table for table in remaining if name not in table.names]
        step, left = _eliminated(name, _joined(mine))
        steps.append(step)
        remaining.append(left)
        for other in left.names:
            sizes.pop(other, None)
    whole = _joined([*remaining, Table((), {(): 0.0})])
    order = [whole.names.index(name) for name in keep]
    costs = {tuple(key[i] for i in order): cost for key, cost in whole.costs.items()}
    return Minimum(tuple(keep), costs, tuple(steps))


def _domains(tables: Iterable[Table]) -> dict[Name, int]:
    """The number of values of each variable."""
    values: dict[Name, set[Any]] = {}
    for table in tables:
        for i, name in enumerate(table.names):
            here = {key[i] for key in table.costs}
            values[name] = values[name] & here if name in values else here
    return {name: len(found) for name, found in values.items()}


def _neighbourhood(name: Name, tables: Iterable[Table], domains: Mapping[Name, int]) -> int:
    return prod(domains[other] for other in {n for table in tables if name in table.names for n in table.names})


def _joined(tables: Sequence[Table]) -> Table:
    ordered = sorted(tables, key=lambda table: len(table.costs))
    result = ordered.pop(0)
    while ordered:  # next one that shares variables, so that the product stays small
        at = next((i for i, table in enumerate(ordered) if set(table.names) & set(result.names)), 0)
        result = _join(result, ordered.pop(at))
    return result


def _join(left: Table, right: Table) -> Table:
    common = [name for name in right.names if name in left.names]
    extra = [i for i, name in enumerate(right.names) if name not in left.names]
    mine = [left.names.index(name) for name in common]
    theirs = [right.names.index(name) for name in common]
    matching: dict[Key, list[tuple[Key, float]]] = {}
    for key, cost in right.costs.items():
        matching.setdefault(tuple(key[i] for i in theirs), []).append((tuple(key[i] for i in extra), cost))
    costs: dict[Key, float] = {}
    for key, cost in left.costs.items():
        for more, further in matching.get(tuple(key[i] for i in mine), ()):
            costs[key + more] = cost + further
        if len(costs) > LARGEST:
            raise TooWide
    return Table((*left.names, *(right.names[i] for i in extra)), costs)


def _eliminated(name: Name, table: Table) -> tuple[Step, Table]:
    at = table.names.index(name)
    others = (*table.names[:at], *table.names[at + 1 :])
    costs: dict[Key, float] = {}
    best: dict[Key, Any] = {}
    for key, cost in table.costs.items():
        rest = key[:at] + key[at + 1 :]
        if rest not in costs or cost < costs[rest]:
            costs[rest], best[rest] = cost, key[at]
    return Step(name, others, best), Table(others, costs)
