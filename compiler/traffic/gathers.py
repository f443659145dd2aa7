"""How often FSDP2 gathers parameters in a step: those of a unit, and those in none, of each stage of a rank.

What is gathered stays so until the end of the step. With `shard: parameters` a unit is let go after each forward, and
without a pipeline after each backward as well. Schedules of several stages per rank gather the next stages ahead, but
hold three at a time (`torch.distributed.pipelining`, `_add_unshard_reshard`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..layout import Layout
from ..pipeline.schedule import Op, order

HELD = 3
"""Stages whose parameters a rank holds at a time."""


def gathers(layout: Layout, micro: int, rank: int) -> dict[int, tuple[int, int]]:
    """By stage of a pipeline rank: gathers in a step of each unit, and of what is in no unit."""
    again = layout.shard == "parameters"
    if layout.stages == 1:
        return {0: (2 * micro, micro) if again else (1, 1)}
    ops = order(layout, micro)[rank]
    ahead = layout.schedule not in ("gpipe", "one_f_one_b")
    stages = list(dict.fromkeys(op.stage for op in ops))
    count = {(stage, unit): 0 for stage in stages for unit in (True, False)}
    whole: set[tuple[int, bool]] = set()
    active: list[int] = []

    def gather(stage: int) -> None:
        for unit in (True, False):
            if (stage, unit) not in whole:
                whole.add((stage, unit))
                count[stage, unit] += 1

    for number, op in enumerate(ops):
        if ahead:
            following = _following(ops[number:])
            for stage in [each for each in active if each not in following]:
                active.remove(stage)
                whole -= {(stage, True), (stage, False)}
            for stage in [each for each in following if each not in active]:
                active.append(stage)
                gather(stage)
        if op.kind != "weight":
            gather(op.stage)
        if op.kind == "forward" and again:
            whole.discard((op.stage, True))
    return {stage: (count[stage, True], count[stage, False]) for stage in stages}


def _following(ops: Sequence[Op]) -> list[int]:
    """The next stages that a rank works on."""
    return list(dict.fromkeys(op.stage for op in ops))[:HELD]
