"""Faults as they are written and drawn, and the account of what followed them."""

from __future__ import annotations

import random

import pytest

from dskc.runtime.chaos.account import PARTS, Outcome, settle
from dskc.runtime.chaos.faults import KINDS, chosen, draw, parse
from dskc.runtime.chaos.job import Shape
from dskc.runtime.chaos.watch import Seen
from dskc.runtime.errors import RunError


@pytest.mark.parametrize("text", ["kill@20", "kill:rank=1,at=publish,after=0.003@7", "bit-flip:file=model@9", "node@1"])
def test_a_fault_is_written_as_it_is_shown(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kill", "at which step"),
        ("kill@0", "at which step"),
        ("kil@3", "no fault is called 'kil'; there are kill, segfault"),
        ("kill:file=model@3", "kill has no setting 'file=model'; it takes rank, at, after"),
        ("kill:at=lunch@3", "at is one of step, create"),
        ("kill:rank=one@3", "rank is a number"),
        ("rendezvous:rank=1@3", "it takes nothing"),
    ],
)
def test_what_is_wrong_with_a_fault_is_told(text: str, why: str) -> None:
    with pytest.raises(RunError, match=why):
        parse(text)


def test_there_has_to_be_such_a_rank() -> None:
    with pytest.raises(RunError, match="there are 2 ranks, counted from 0"):
        chosen(parse("kill:rank=2@3"), Shape(2, 1), random.Random(0))


def test_drawn_faults_are_the_same_for_a_seed_and_spread_over_the_run() -> None:
    drawn = [draw(40, 5, 400, random.Random(seed)) for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]
    steps = [fault.step for fault in drawn[0]]
    assert len(set(steps)) == 40
    assert all(5 + 396 * at // 40 <= step < 5 + 396 * (at + 1) // 40 for at, step in enumerate(steps))
    assert {f.kind.name for f in draw(400, 1, 400, random.Random(0))} == {k.name for k in KINDS if k.weight}
    with pytest.raises(RunError, match="do not fit between step 5 and step 8"):
        draw(5, 5, 8, random.Random(0))


def test_parts_add_up_to_the_time_until_a_new_step() -> None:
    record = {"event": "resumed", "step": 10}
    seen = [
        Seen(10.0, "step", 0, 14),
        Seen(11.3, "line", 0, "E1124 failed (exitcode: -9) local_rank: 1 (pid: 7)"),
        Seen(12.0, "event", 1, {"event": "died"}),
        Seen(13.0, "born", 0, [1, 1]),
        Seen(13.5, "born", 1, [1, 1]),
        Seen(15.0, "joining", 0),
        Seen(16.0, "joining", 1),
        Seen(16.25, "joined", 1),
        Seen(17.0, "event", 0, record),
        *(Seen(17.0 + step / 4, "step", 0, 10 + step) for step in range(1, 8)),
    ]
    outcome = Outcome(parse("kill@14"), struck=11.0, peak=14, shown="died")
    settle(outcome, seen)

    assert outcome.by == "torchrun: exit code -9 of a rank"
    assert outcome.resumed == 10
    assert outcome.replayed == 4
    assert outcome.parts == pytest.approx(dict(zip(PARTS, (0.3, 4.7, 0.25, 0.75, 1.25), strict=True)))
    assert not outcome.wrong()


def test_a_fault_without_effect_or_trace_is_a_failure() -> None:
    fault = parse("hang@5")

    assert Outcome(fault).wrong() == "it did not fire"
    assert "none of hang" in Outcome(fault, struck=1.0).wrong()
    assert Outcome(fault, struck=1.0, shown="hang").wrong() == "no new step after it"


def test_a_rank_that_is_told_to_end_finishes_its_step_first() -> None:
    steps = [(1.0, 14), (1.2, 15), (5.0, 15), (5.5, 16)]
    seen = [Seen(1.1, "event", 0, {"event": "preempted"}), Seen(4.0, "born", 0, [1, 1])]
    seen += [Seen(time, "step", 0, step) for time, step in steps]
    outcome = Outcome(parse("terminate@14"), struck=1.0, peak=14, shown="preempted")
    settle(outcome, sorted(seen, key=lambda each: each.time))

    assert (outcome.peak, outcome.resumed, outcome.replayed, outcome.back) == (15, 14, 1, 5.5)
