"""The cheapest collectives that make a value available in several types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import combinations

from .places import Code

Edge = tuple[Code, Code]
Available = tuple[Code, ...]
"""Types that a value is available in, sorted."""


class Conversions:
    """Trees of conversions from the type a value is made in; `price(source, target)` is None where there is none.

    A type that is made once serves all users, and further types may be made from it: the cheapest such tree is found by
    shortest paths over sets of types.
    """

    def __init__(self, types: Sequence[Code], price: Callable[[Code, Code], float | None]) -> None:
        self.types = tuple(sorted(set(types)))
        self._edges = [(a, b, cost) for a in self.types for b in self.types if (cost := price(a, b)) is not None]
        self._trees: dict[Code, dict[Available, tuple[float, tuple[Edge, ...]]]] = {}

    def tree(self, made: Code, needed: Sequence[Code]) -> tuple[float, tuple[Edge, ...]] | None:
        """Cost and conversions, in order, that make the needed types from the one a value is made in."""
        return self._from(made).get(tuple(sorted({made, *needed})))

    def _from(self, made: Code) -> dict[Available, tuple[float, tuple[Edge, ...]]]:
        if made not in self._trees:
            reached = self._reach(made)
            best: dict[Available, tuple[float, tuple[Edge, ...]]] = {}
            for have, found in reached.items():
                for size in range(len(have)):
                    for others in combinations([code for code in have if code != made], size):
                        target = tuple(sorted((made, *others)))
                        if target not in best or found[0] < best[target][0]:
                            best[target] = found
            self._trees[made] = {target: (cost, _needed(edges, target)) for target, (cost, edges) in best.items()}
        return self._trees[made]

    def _reach(self, made: Code) -> dict[Available, tuple[float, tuple[Edge, ...]]]:
        done: dict[Available, tuple[float, tuple[Edge, ...]]] = {}
        queue: list[tuple[float, tuple[Edge, ...], Available]] = [(0.0, (), (made,))]
        while queue:
            cost, edges, have = heappop(queue)
            if have in done:
                continue
            done[have] = cost, edges
            for source, target, more in self._edges:
                if source in have and target not in have:
                    heappush(queue, (cost + more, (*edges, (source, target)), tuple(sorted((*have, target)))))
        return done


def _needed(edges: Sequence[Edge], targets: Sequence[Code]) -> tuple[Edge, ...]:
    """The edges on the way to some of the targets."""
    kept: list[Edge] = []
    wanted = set(targets)
    for source, target in reversed(edges):
        if target in wanted:
            kept.append((source, target))
            wanted.add(source)
    return tuple(reversed(kept))
