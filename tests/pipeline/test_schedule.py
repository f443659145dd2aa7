"""Orders of work against those of `torch.distributed.pipelining`."""

import itertools
from dataclasses import replace
from unittest import mock

import pytest
from torch.distributed.pipelining import PipelineStage, ScheduleInterleavedZeroBubble
from torch.distributed.pipelining._schedule_visualizer import get_schedule_ops

from dskc.compiler.layout import Layout
from dskc.compiler.pipeline.schedule import Op, order, rank_of

KINDS = {"FORWARD": "forward", "FULL_BACKWARD": "backward", "BACKWARD_INPUT": "input", "BACKWARD_WEIGHT": "weight"}
NAMES = {"gpipe": "GPipe", "one_f_one_b": "1F1B", "interleaved": "Interleaved1F1B"}


def of_torch(rows: list[list[object]]) -> list[list[Op]]:
    """Torch's actions as ours, without what is not work."""
    return [
        [
            Op(KINDS[a.computation_type.name], a.stage_index, a.microbatch_index)  # type: ignore[attr-defined,arg-type]
            for a in row
            if a is not None and a.computation_type.name in KINDS  # type: ignore[attr-defined]
        ]
        for row in rows
    ]


@pytest.mark.parametrize("schedule", ["gpipe", "one_f_one_b"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8])
def test_one_stage_on_each_rank(schedule: str, depth: int) -> None:
    for micro in (depth, depth + 1, 2 * depth, 3 * depth + 1):
        ours = order(Layout(pipeline=depth, schedule=schedule), micro)
        theirs = of_torch(get_schedule_ops(NAMES[schedule], depth, micro))
        if schedule == "one_f_one_b":  # its table, unlike its loop, counts the last rank's forwards from 1
            theirs[-1] = [replace(op, micro=op.micro - 1) if op.kind == "forward" else op for op in theirs[-1]]

        assert ours == theirs


@pytest.mark.parametrize(("depth", "chunks"), list(itertools.product((2, 3, 4, 8), (2, 3, 4))))
def test_interleaved(depth: int, chunks: int) -> None:
    for micro in (depth, 2 * depth, 5 * depth):
        ours = order(Layout(pipeline=depth, schedule="interleaved", chunks=chunks), micro)

        assert ours == of_torch(get_schedule_ops("Interleaved1F1B", depth, micro, chunks))


@pytest.mark.parametrize(("depth", "chunks"), list(itertools.product((2, 3, 4, 8), (3, 4))))
def test_zero_bubble(depth: int, chunks: int) -> None:
    for micro in (depth, 2 * depth, 5 * depth):
        ours = order(Layout(pipeline=depth, schedule="zero_bubble", chunks=chunks), micro)

        assert ours == of_torch(get_schedule_ops("InterleavedZeroBubble", depth, micro, chunks))


@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_zero_bubble_with_one_chunk(depth: int) -> None:
    """The visualizer refuses one stage on each rank; the schedule itself runs it."""
    stage = mock.create_autospec(PipelineStage, instance=True)
    stage.group_rank, stage.group_size, stage.num_stages, stage.submod = 0, depth, depth, None
    for micro in (depth, 2 * depth, 5 * depth):
        theirs = ScheduleInterleavedZeroBubble([stage], micro).pipeline_order

        ours = order(Layout(pipeline=depth, schedule="zero_bubble"), micro)
        assert ours == of_torch([theirs[rank] for rank in range(depth)])


@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_zero_bubble_as_a_v(depth: int) -> None:
    for micro in (1, depth, 2 * depth - 1, 2 * depth, 5 * depth):
        ours = order(Layout(pipeline=depth, schedule="zero_bubble", chunks=2), micro)

        assert ours == of_torch(get_schedule_ops("ZBVZeroBubble", depth, micro, 2))


@pytest.mark.parametrize(("schedule", "chunks"), [("interleaved", 3), ("zero_bubble", 2), ("zero_bubble", 1)])
def test_a_rank_works_on_its_own_stages(schedule: str, chunks: int) -> None:
    layout = Layout(pipeline=4, schedule=schedule, chunks=chunks)

    for rank, ops in enumerate(order(layout, 8)):
        assert {op.stage for op in ops} == {s for s in range(layout.stages) if rank_of(layout, s) == rank}
