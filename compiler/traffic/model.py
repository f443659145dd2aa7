"""What the prediction says: rows of traffic, and their bytes on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..layout import Layout


@dataclass(frozen=True)
class Traffic:
    """One kind of collective on one axis in a step: its calls, their bytes and the bytes on the wire of one rank.

    `axis` is "data", "tensor", "pipeline" or "world" (all ranks of the run); `kind` "all_reduce", "all_gather",
    "reduce_scatter", "all_to_all", "send" or "recv"; `purpose` "activations", "parameters", "gradients" or "scalars".
    """

    axis: str
    kind: str
    purpose: str
    calls: int
    bytes: int
    wire: int

    def times(self, count: int) -> Traffic:
        """The same, `count` times over."""
        return Traffic(self.axis, self.kind, self.purpose, self.calls * count, self.bytes * count, self.wire * count)


@dataclass(frozen=True)
class StageTraffic:
    """The traffic of one step of each rank at a place of the pipeline."""

    pipeline: int
    rows: tuple[Traffic, ...]

    def bytes(self, axis: str | None = None) -> int:
        """Bytes on an axis, or on all."""
        return sum(row.bytes for row in self.rows if axis in (None, row.axis))

    def wire(self, axis: str | None = None) -> int:
        """Bytes on the wire, of an axis or of all."""
        return sum(row.wire for row in self.rows if axis in (None, row.axis))

    def amounts(self, layout: Layout) -> dict[tuple[str, str], tuple[int, int]]:
        """Calls and bytes by axis and kind; what all ranks do is on their axis where there is only one."""
        axes = [axis for axis in ("pipeline", "data", "tensor") if getattr(layout, axis) > 1]
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for row in self.rows:
            axis = axes[0] if row.axis == "world" and len(axes) == 1 else row.axis
            calls, size = found.get((axis, row.kind), (0, 0))
            found[axis, row.kind] = (calls + row.calls, size + row.bytes)
        return found


def wire(kind: str, size: int, ranks: int) -> int:
    """Bytes that one rank of a ring sends for a collective of `size` bytes, rounded up."""
    if kind in ("send", "recv"):
        return size if kind == "send" else 0
    rounds = 2 if kind == "all_reduce" else 1
    return -(-rounds * size * (ranks - 1) // ranks)


def row(axis: str, kind: str, purpose: str, size: int, ranks: int) -> Traffic:
    """One call."""
    return Traffic(axis, kind, purpose, 1, size, wire(kind, size, ranks))


def gathered(rows: Iterable[Traffic]) -> tuple[Traffic, ...]:
    """One row for each axis, kind and purpose."""
    sums: dict[tuple[str, str, str], Traffic] = {}
    for each in rows:
        key = (each.axis, each.kind, each.purpose)
        before = sums.get(key, Traffic(*key, 0, 0, 0))
        sums[key] = Traffic(
            *key, before.calls + each.calls, before.bytes + each.bytes, before.wire + each.wire
        )  # fmt: skip
    return tuple(each for each in sums.values() if each.calls)
