"""The order in which each rank of the pipeline works on its stages and micro-batches.

The orders are those that `torch.distributed.pipelining` runs:

    gpipe            all forwards, then all backwards (Huang et al. 2019)
    one_f_one_b      as few forwards ahead as fill the pipeline, then one backward for each (Narayanan et al. 2019)
    interleaved      the same over several stages on each rank (Narayanan et al. 2021, section 2.2)
    zero_bubble      backward in two halves, of which the gradients of parameters fill the gaps: ZB-H1 with one chunk,
                     ZB-V with two, that of 1F1B interleaved with more (Qi et al. 2023, sections 3 and 6)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..layout import Layout

Kind = Literal["forward", "backward", "input", "weight"]
"""`backward` is all of it; `input` and `weight` its halves: gradients of the stage's inputs, and of its parameters."""


@dataclass(frozen=True)
class Op:
    """What a rank does at a time: a stage's work on a micro-batch."""

    kind: Kind
    stage: int
    micro: int


def rank_of(layout: Layout, stage: int) -> int:
    """The pipeline rank of a stage: round and round, or there and back (a V) where the schedule is ZB-V."""
    turn, place = divmod(stage, layout.pipeline)
    return layout.pipeline - 1 - place if is_v(layout) and turn % 2 else place


def is_v(layout: Layout) -> bool:
    """Whether the stages lie on the ranks as a V: zero bubble with two chunks."""
    return layout.schedule == "zero_bubble" and layout.chunks == 2


def order(layout: Layout, micro: int) -> list[list[Op]]:
    """The work of each pipeline rank, for `micro` micro-batches."""
    ranks = range(layout.pipeline)
    if layout.schedule == "gpipe":
        return [_gpipe(rank, micro) for rank in ranks]
    if layout.schedule == "one_f_one_b":
        return [_one_f_one_b(rank, layout.pipeline, micro) for rank in ranks]
    if is_v(layout):
        return [_v(rank, layout.pipeline, micro) for rank in ranks]
    return [_interleaved(rank, layout, micro) for rank in ranks]


def _gpipe(stage: int, micro: int) -> list[Op]:
    return [Op("forward", stage, i) for i in range(micro)] + [Op("backward", stage, i) for i in range(micro)]


def _one_f_one_b(stage: int, depth: int, micro: int) -> list[Op]:
    ahead = min(micro, depth - stage - 1)
    ops = [Op("forward", stage, i) for i in range(ahead)]
    for i in range(micro - ahead):
        ops += [Op("forward", stage, ahead + i), Op("backward", stage, i)]
    return ops + [Op("backward", stage, i) for i in range(micro - ahead, micro)]


def _interleaved(rank: int, layout: Layout, micro: int) -> list[Op]:
    """Micro-batches go in groups through the chunks of a rank; with halves, weights follow `rank` backwards later."""
    depth, chunks = layout.pipeline, layout.chunks
    halves = layout.schedule == "zero_bubble"
    group = micro // max(1, micro // depth)
    total = micro * chunks
    ahead = min(total, (chunks - 1) * group + (1 if halves else 2) * (depth - 1 - rank))
    taken = {kind: [0] * chunks for kind in ("forward", "backward", "weight")}

    def take(kind: Kind, chunk: int) -> Op:
        counts = taken["backward" if kind == "input" else kind]
        counts[chunk] += 1
        return Op(kind, chunk * depth + rank, counts[chunk] - 1)

    ops: list[Op] = []
    pending: list[int] = []
    for step in range(total + ahead):
        if step < total:
            ops.append(take("forward", step // group % chunks))
        if step >= ahead:
            chunk = chunks - 1 - (step - ahead) // group % chunks
            ops.append(take("input" if halves else "backward", chunk))
            pending.append(chunk)
            if halves and step - ahead >= rank:
                ops.append(take("weight", pending.pop(0)))
    return ops + [take("weight", chunk) for chunk in pending if halves]


def _v(rank: int, depth: int, micro: int) -> list[Op]:
    """ZB-V: down the first chunks and up the second; micro-batches beyond `micro` only fill the pattern."""
    down, up = rank, 2 * depth - 1 - rank
    count = {
        down: dict.fromkeys(("forward", "input", "weight"), 0),
        up: dict.fromkeys(("forward", "input", "weight"), 0),
    }
    ops: list[Op] = []

    def add(stage: int, *kinds: Kind) -> None:
        for kind in kinds:
            ops.append(Op(kind, stage, count[stage][kind]))
            count[stage][kind] += 1

    full = max(2 * depth - 1, micro)
    for _ in range(2 * (depth - rank) - 1):
        add(down, "forward")
    for _ in range(rank):
        add(up, "forward")
        add(down, "forward")
    for _ in range(depth - rank):
        add(up, "forward", "input", "weight")
    while count[up]["forward"] < count[down]["forward"] or count[down]["forward"] < full:
        if count[down]["forward"] < full:
            add(down, "forward")
        add(down, "input", "weight")
        add(up, "forward", "input", "weight")
    for _ in range(rank):
        add(down, "input")
        add(up, "input")
    for _ in range(depth - rank):
        add(down, "input", "weight")
    for stage in (up, down):
        while count[stage]["weight"] < count[stage]["input"]:
            add(stage, "weight")
    return [op for op in ops if op.micro < micro]
