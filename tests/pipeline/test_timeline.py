"""Simulated schedules against what is known of them."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest

from dskc.compiler.layout import Layout
from dskc.compiler.pipeline.draw import svg, text
from dskc.compiler.pipeline.schedule import rank_of
from dskc.compiler.pipeline.timeline import StageTime, held, in_flight, simulate

ALL = [("gpipe", 1), ("one_f_one_b", 1), ("interleaved", 2), ("interleaved", 3), ("zero_bubble", 1),
       ("zero_bubble", 2), ("zero_bubble", 3)]  # fmt: skip


def layout(schedule: str, depth: int, chunks: int = 1) -> Layout:
    return Layout(pipeline=depth, schedule=schedule, chunks=chunks)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_bubbles_of_the_literature(depth: int, rounds: int) -> None:
    """(p - 1) / (m + p - 1) of GPipe and 1F1B; with v chunks (p - 1) / (v m + p - 1) (Narayanan et al. 2021)."""
    micro = depth * rounds
    whole = [StageTime(2, 2, 2)] * depth
    for schedule in ("gpipe", "one_f_one_b"):
        found = simulate(layout(schedule, depth), micro, whole)
        assert found.bubble == pytest.approx((depth - 1) / (micro + depth - 1))
        assert found.duration == 6 * (micro + depth - 1)
    half = simulate(layout("interleaved", depth, 2), micro, [StageTime(1, 1, 1)] * (2 * depth))
    assert half.bubble == pytest.approx((depth - 1) / (2 * micro + depth - 1))


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_zero_bubble_waits_less(depth: int) -> None:
    """ZB-H1 idles a third of 1F1B's time, (p - 1)(F + B - W) with F = B = W (Qi et al. 2023, table 1)."""
    micro = 4 * depth
    plain = simulate(layout("one_f_one_b", depth), micro, [StageTime(1, 1, 1)] * depth)
    halves = simulate(layout("zero_bubble", depth), micro, [StageTime(1, 1, 1)] * depth)
    v = simulate(layout("zero_bubble", depth, 2), micro, [StageTime(0.5, 0.5, 0.5)] * (2 * depth))

    assert halves.duration - 3 * micro == pytest.approx(depth - 1)
    assert plain.duration - 3 * micro == 3 * (depth - 1)
    assert v.duration - 3 * micro <= (depth - 1) / 2  # no rank waits between its first op and its last


@pytest.mark.parametrize("micro", [4, 8, 12])
def test_micro_batches_held(micro: int) -> None:
    assert in_flight(layout("gpipe", 4), micro) == (micro,) * 4
    assert in_flight(layout("one_f_one_b", 4), micro) == (4, 3, 2, 1)
    assert max(in_flight(layout("zero_bubble", 4), micro)) <= 4
    chunks = layout("zero_bubble", 4, 2)
    for rank, rows in enumerate(held(chunks, micro)):  # two halves of a stage: as much as 1F1B's first rank
        assert max(sum(row.values()) for row in rows) <= 2 * 4, rank


@pytest.mark.parametrize(("schedule", "chunks"), ALL)
def test_everything_is_let_go(schedule: str, chunks: int) -> None:
    for rows in held(layout(schedule, 4, chunks), 8):
        assert set(rows[-1].values()) == {0}
        assert all(count >= 0 for row in rows for count in row.values())


@pytest.mark.parametrize(("schedule", "chunks"), ALL)
def test_a_rank_does_one_thing_at_a_time_and_only_with_what_has_arrived(schedule: str, chunks: int) -> None:
    made = layout(schedule, 4, chunks)
    times = [StageTime(1 + 0.3 * s, 1.5, 0.5 + 0.2 * s, 0.25) for s in range(made.stages)]
    found = simulate(made, 8, times)
    ends = {(s.op.kind, s.op.stage, s.op.micro): s.end for row in found.ranks for s in row}

    for row in found.ranks:
        assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(row))
    for slot in (slot for row in found.ranks for slot in row):
        stage = slot.op.stage
        if slot.op.kind == "forward" and stage:
            late = 0 if rank_of(made, stage) == rank_of(made, stage - 1) else 0.25
            assert slot.start >= ends["forward", stage - 1, slot.op.micro] + late - 1e-9
    assert len(ends) == made.stages * 8 * (3 if schedule == "zero_bubble" else 2)


def test_slow_links_lengthen_a_step() -> None:
    fast, slow = ([StageTime(1, 1, 1, send)] * 4 for send in (0.0, 0.5))
    made = layout("one_f_one_b", 4)

    assert simulate(made, 8, slow).duration > simulate(made, 8, fast).duration


@pytest.mark.parametrize(("schedule", "chunks"), ALL)
def test_pictures(schedule: str, chunks: int) -> None:
    made = layout(schedule, 4, chunks)
    found = simulate(made, 8, [StageTime(1, 1, 1)] * made.stages)
    drawn = svg(made, found, 8, 'a "model" <of> mine & yours')
    boxes = [e for e in ElementTree.fromstring(drawn).iter() if e.tag.endswith("rect") and len(e)]
    lines = text(made, found, 8, 60).splitlines()

    assert len(boxes) == sum(len(row) for row in found.ranks)
    assert len(lines) == 5
    assert {len(line) for line in lines[1:]} == {len("  rank 0   ") + 60}
