"""What backward computes again, as seconds of a unit."""

from __future__ import annotations

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
