"""The cut of a model into stages: contiguous, and the slowest as fast as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .units import Unit


@dataclass(frozen=True)
class Part:
    """What a stage runs: (unit, how many of its steps), in order."""

    pieces: tuple[tuple[Unit, int], ...]

    @property
    def edge(self) -> int:
        """Bytes that it hands on."""
        return self.pieces[-1][0].edge if self.pieces else 0

    @property
    def parameters(self) -> int:
        """Trained elements."""
        return sum(unit.parameters * count for unit, count in self.pieces)

    @property
    def layers(self) -> int:
        """Steps of repeats in it."""
        return sum(count for unit, count in self.pieces if unit.repeated)


def steps(units: Sequence[Unit]) -> int:
    """Number of places that a pipeline could cut, plus one."""
    return sum(unit.count for unit in units)


def cut(units: Sequence[Unit], stages: int, seconds: Sequence[float]) -> tuple[Part, ...] | None:
    """The best cut; `seconds` per step of each unit. None where there are fewer steps than stages.

    The time of the slowest stage is one of finitely many; bisection on it with a greedy filling is exact to a billionth.
    """
    if steps(units) < stages:
        return None
    low = max(max(seconds, default=0.0), sum(s * u.count for u, s in zip(units, seconds, strict=True)) / stages)
    high = sum(s * u.count for u, s in zip(units, seconds, strict=True))
    best = _fill(units, stages, seconds, high)
    while high - low > 1e-9 * high and high > 0:
        middle = (low + high) / 2
        found = _fill(units, stages, seconds, middle)
        if found is None:
            low = middle
        else:
            best, high = found, middle
        if low == middle and high == middle:
            break
    return best


def _fill(units: Sequence[Unit], stages: int, seconds: Sequence[float], limit: float) -> tuple[Part, ...] | None:
    """Stages filled up to a limit from the back, each at least one step; None where they do not suffice."""
    left = [unit.count for unit in units]
    remaining = sum(left)
    at = len(units) - 1
    parts: list[tuple[tuple[Unit, int], ...]] = []
    slack = limit * (1 + 1e-12)
    for stage in range(stages):
        others = stages - stage - 1
        used, pieces = 0.0, []
        while at >= 0 and remaining > others:
            fits = left[at] if seconds[at] == 0 else int((slack - used) / seconds[at] + 1e-9)
            taken = min(left[at], fits, remaining - others)
            if taken <= 0:
                break
            pieces.append((units[at], taken))
            used += taken * seconds[at]
            left[at] -= taken
            remaining -= taken
            at -= left[at] == 0
        if not pieces:
            return None
        parts.append(tuple(reversed(pieces)))
    return tuple(Part(pieces) for pieces in reversed(parts)) if remaining == 0 else None
