"""What a step sends: bytes of every collective and message, per rank of the pipeline, by axis and kind.

Bytes are those of the whole value on one rank: the tensor of an all-reduce, the result of an all-gather, the input of
a reduce-scatter or an all-to-all, the message of a send. `wire` is what the rank itself puts on its link when the
ranks form a ring: 2 (n - 1) / n of the bytes for an all-reduce, (n - 1) / n for the other collectives, all of a send.

Counted is a step of training: all its micro-batches, without evaluation, checkpoints, and what only the first step
does. A rank is that of data index 0: where rows of a parameter do not divide, others hold fewer.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...dsl.spec import Spec
from ..plan import Plan
from .compute import computed
from .edges import crossed
from .flow import flow
from .model import StageTraffic, Traffic, gathered
from .parameters import synced
from .scalars import scalars

__all__ = ["StageTraffic", "Traffic", "traffic_of"]


def traffic_of(plan: Plan, spec: Spec) -> tuple[StageTraffic, ...]:
    """The traffic of one step, for each rank of the pipeline."""
    if plan.layout.world == 1:
        return (StageTraffic(0, ()),)
    return tuple(StageTraffic(rank, gathered(_rows(plan, spec, rank))) for rank in range(plan.layout.pipeline))


def _rows(plan: Plan, spec: Spec, rank: int) -> Iterator[Traffic]:
    followed = flow(plan)
    micro = spec.training.gradient_accumulation
    stages = [stage for stage in plan.stages if stage.rank == rank]
    bodies = [stage.body for stage in stages] or ["forward"]
    for body in bodies:
        yield from (each.times(micro) for each in computed(plan, followed, body))
    for stage in stages:
        yield from (each.times(micro) for each in crossed(plan, followed, stage))
    yield from synced(plan, spec, followed, rank)
    yield from scalars(plan, bodies)
