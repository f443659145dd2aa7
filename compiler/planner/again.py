"""What backward computes again, as seconds of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from ..plan import Plan
from .units import Part, Unit


def of_kind(kind: str, unit: Unit) -> float:
    """One step of a unit: "full" runs forward again; "selective" all but its matrix products, whose results it kept."""
    if not unit.repeated or kind == "off":
        return 0.0
    return unit.work.bytes[0] + unit.tensor[0] if kind == "selective" else unit.forward


class Marked:
    """The shares that the recompute pass marked in a plan, by stage and unit."""

    def __init__(self, plan: Plan) -> None:
        self.shares: dict[tuple[int, str], dict[str, float]] = {}
        stages = [(stage.index, stage.body) for stage in plan.stages] or [(0, "forward")]
        for index, body in stages:
            self._read(plan, index, body, "")

    def _read(self, plan: Plan, index: int, body: str, prefix: str) -> None:
        for node in plan.nodes(body):
            name = f"{prefix}{node.label or node.name}"
            for part in getattr(node, "recompute", ()):
                shares = self.shares.setdefault((index, name), {})
                shares[part.kind] = shares.get(part.kind, 0.0) + (part.stop - part.start) / node.count
            if node.op == "call" and node.body:
                self._read(plan, index, node.body, f"{name}.")

    def __call__(self, stage: int, part: Part) -> float:
        """Seconds of a stage."""
        seconds = 0.0
        for unit, count in part.pieces:
            shares = self.shares.get((stage, unit.name), {})
            seconds += count * sum(share * of_kind(kind, unit) for kind, share in shares.items())
        return seconds


class Kind:
    """The same kind for all layers."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, _stage: int, part: Part) -> float:
        """Seconds of a stage."""
        return sum(of_kind(self.kind, unit) * count for unit, count in part.pieces)


class Root:
    """Segments of about the root of the number of layers, of which the model's last stays (Chen et al. 2016).

    As the recompute pass has it: equal stages are one body, and count once.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        layers = {
            (part.layers, unit.name, count): (unit, count)
            for part in parts
            for unit, count in part.pieces
            if unit.repeated
        }
        number = sum(count for _, count in layers.values())
        self.target = sum(unit.saved * count for unit, count in layers.values()) / sqrt(max(number, 1))
        self.last = next(((k, u) for k, u, _ in reversed(_repeated(parts))), None)

    def segment(self, unit: Unit, count: int) -> int:
        """Steps of a unit in a segment."""
        return min(max(round(self.target / max(unit.saved, 1)), 1), count)

    def __call__(self, stage: int, part: Part) -> float:
        """Seconds of a stage."""
        seconds = 0.0
        for unit, count in part.pieces:
            length = self.segment(unit, count)
            stays = count - (count - 1) // length * length if self.last == (stage, unit) else 0
            seconds += of_kind("full", unit) * (count - stays)
        return seconds


def _repeated(parts: Sequence[Part]) -> list[tuple[int, Unit, int]]:
    return [(stage, unit, n) for stage, part in enumerate(parts) for unit, n in part.pieces if unit.repeated]
