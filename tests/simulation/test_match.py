"""Records of all ranks agree; whatever is changed in one call of one rank is found, with the rank and the call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dskc.runtime.errors import RunError
from dskc.runtime.simulation.corners import corners, spread
from dskc.runtime.simulation.events import Call, Record, Wait, packed, unpacked
from dskc.runtime.simulation.match import match

from .programs import Run, records

SCHEDULES = (
    Run(schedule="ScheduleGPipe"),
    Run(schedule="Schedule1F1B", pipeline=4),
    Run(schedule="ScheduleInterleaved1F1B", chunks=2),
    Run(schedule="ScheduleLoopedBFS", chunks=2),
    Run(schedule="ScheduleInterleavedZeroBubble", chunks=2),
    Run(schedule="ScheduleZBVZeroBubble", chunks=2),
    Run(schedule="ScheduleDualPipeV", chunks=2),
)
VICTIM = 5


@pytest.mark.parametrize("run", SCHEDULES, ids=lambda run: run.schedule)
def test_ranks_of_a_right_program_agree(run: Run) -> None:
    found = records(run)

    assert match(found) == []
    kinds = {event.kind for event in found[0] if isinstance(event, Call)}
    assert {"all_gather", "reduce_scatter", "all_reduce", "send", "recv"} <= kinds


def test_a_record_survives_its_way_through_json() -> None:
    record = records(Run())[VICTIM]

    assert unpacked(packed(record)) == record


def edited(record: Record, order: list[int], **changes: object) -> Record:
    """The record with the calls at these numbers, each followed by its waits as before."""
    calls = [event for event in record if isinstance(event, Call)]
    waited = {event.call for event in record if isinstance(event, Wait)}
    events: list[Call | Wait] = []
    late: list[Wait] = []
    for place, number in enumerate(order):
        events.append(calls[number])
        waits = [Wait(place)] if number in waited else []
        # A message that is waited for later, such as an early receive, stays so.
        (late if calls[number].kind == "send" else events).extend(waits)
    return (*events, *late)


def tampered(how: str, place: int) -> tuple[dict[int, Record], Call]:
    """The records of a right program with one call of one rank changed, and that call."""
    found = dict(records(Run()))
    calls = [event for event in found[VICTIM] if isinstance(event, Call)]
    order = list(range(len(calls)))
    if how == "drop":
        del order[place]
    elif how == "double":
        order.insert(place, place)
    elif how == "move":
        order.insert(place + 1, order.pop(place))
    changed = edited(found[VICTIM], order)
    if how == "resize":
        other = replace(calls[place], size=calls[place].size + 4)
        numbers = [i for i, event in enumerate(changed) if isinstance(event, Call)]
        changed = (*changed[: numbers[place]], other, *changed[numbers[place] + 1 :])
    found[VICTIM] = changed
    return found, calls[place]


def places() -> list[int]:
    return list(range(sum(isinstance(event, Call) for event in records(Run())[VICTIM])))


def test_a_record_that_is_put_together_again_agrees() -> None:
    found = dict(records(Run()))
    found[VICTIM] = edited(found[VICTIM], places())

    assert match(found) == []


@pytest.mark.parametrize("how", ["drop", "double", "resize"])
def test_each_change_of_a_call_is_found(how: str) -> None:
    for place in places():
        found, call = tampered(how, place)
        findings = match(found)

        assert findings, f"{how} of call {place}, {call.said}, was not found"
        said = " / ".join(finding.message for finding in findings)
        assert any(VICTIM in finding.ranks for finding in findings), said
        assert f"rank {VICTIM}" in said, said
        assert call.kind in said or (call.message and "recv" in said) or "send" in said, said


def test_two_calls_in_the_wrong_order_are_found() -> None:
    calls = [event for event in records(Run())[VICTIM] if isinstance(event, Call)]
    moved = 0
    for place in places()[:-1]:
        first, second = calls[place], calls[place + 1]
        if first.ranks != second.ranks or (first.kind, first.size, first.where) == (
            second.kind,
            second.size,
            second.where,
        ):
            continue
        found, call = tampered("move", place)
        said = " / ".join(finding.message for finding in match(found))

        assert f"rank {VICTIM}" in said, f"{call.said} after {second.said} was not found"
        moved += 1
    assert moved > 3


def test_collectives_of_two_groups_in_opposite_orders_are_a_deadlock() -> None:
    row, column = Call("all_reduce", (0, 1), "a", 4, "float32"), Call("all_reduce", (0, 1), "b", 4, "float32")

    (finding,) = match({0: (row, column), 1: (column, row)})

    assert finding.ranks == (0, 1)
    assert finding.message.startswith("deadlock: rank 0 waits for rank 1 in all_reduce of 4 bytes")


def test_three_ranks_that_wait_in_a_circle_are_a_deadlock() -> None:
    def call(*ranks: int) -> Call:
        return Call("all_reduce", ranks, "".join(map(str, ranks)), 4, "float32")

    a, b, c = call(0, 1), call(1, 2), call(0, 2)
    (finding,) = match({0: (a, c), 1: (b, a), 2: (c, b)})

    assert set(finding.ranks) == {0, 1, 2}
    assert "3 of 3 ranks are stuck" in finding.message


def test_both_ranks_receive_before_they_send() -> None:
    def pair(sender: int, receiver: int) -> tuple[Call, Call]:
        ends = (sender, receiver)
        return Call("send", ends, "p", 8, "float32"), Call("recv", ends, "p", 8, "float32")

    to_one, from_zero = pair(0, 1)
    to_zero, from_one = pair(1, 0)
    both = {0: (from_one, Wait(0), to_one), 1: (from_zero, Wait(0), to_zero)}
    (finding,) = match(both)

    assert "deadlock" in finding.message
    assert "rank 0 waits for rank 1 in recv of 8 bytes" in finding.message
    assert match({0: (to_one, from_one, Wait(1)), 1: (from_zero, to_zero, Wait(0))}) == []


def test_messages_that_meet_in_opposite_orders_need_to_start_together() -> None:
    def call(kind: str, *ends: int, launch: int | None = None) -> Call:
        return Call(kind, ends, "p", 8, "float32", launch=launch)

    apart = {0: (call("send", 0, 1), call("recv", 1, 0)), 1: (call("send", 1, 0), call("recv", 0, 1))}
    (finding,) = match(apart)

    assert finding.message.startswith("ranks 0, 1 take their messages in different orders")
    together = {0: apart[0], 1: (call("send", 1, 0, launch=0), call("recv", 0, 1, launch=0))}
    assert match(together) == []


def test_a_rank_that_did_not_run_is_named() -> None:
    found = dict(records(Run()))
    del found[VICTIM]

    assert any(f"rank {VICTIM}" in finding.message and "did not run" in finding.message for finding in match(found))


def test_a_mesh_from_its_corners_is_the_mesh() -> None:
    run = Run(data=3, tensor=3)
    axes = {"pipeline": 2, "data": 3, "tensor": 3}
    chosen = corners(axes)
    found = spread({rank: records(run)[rank] for rank in chosen}, axes)

    assert chosen == [0, 2, 6, 8, 9, 11, 15, 17]
    assert spread(records(run), axes) == found
    assert match(found) == []


def test_corners_that_differ_are_refused() -> None:
    axes = {"pipeline": 2, "data": 2, "tensor": 2}
    found = dict(records(Run()))
    found[VICTIM] = found[VICTIM][:-2]

    with pytest.raises(RunError, match="rank 5 does not say what rank 4 says"):
        spread(found, axes)
