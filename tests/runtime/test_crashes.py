"""When starting again is no use, and which samples are passed over, told from records."""

from __future__ import annotations

from typing import Any

from dskc.runtime import crashes

Record = dict[str, Any]


def life(*ends: Record, start: int = 0) -> list[Record]:
    begun = {"event": "started", "step": 0, "rank": 0, "restart": 0}
    return [begun, {"event": "resumed", "step": start, "rank": 0, "restart": 0}, *ends]


def died(step: int, rank: int = 1, doing: str = "training", reason: str = "killed") -> Record:
    return {"event": "died", "step": step, "rank": rank, "doing": doing, "reason": reason}


def hang(step: int) -> Record:
    return {"event": "hang", "step": step, "rank": 1, "doing": "training", "state": "stopped", "waited": 4}


def skipped(step: int, first: int) -> Record:
    return {"event": "skipped", "step": step, "rank": 0, "samples": [first, first + 7], "why": crashes.FAILING}


def test_starts_without_a_new_step_are_counted_from_the_last_new_one() -> None:
    records = [*life(died(7)), *life(died(7), start=5), *life(hang(6), start=5)]
    assert len(crashes.fruitless(records)) == 2
    assert crashes.verdict(records, 3) is None

    assert crashes.fruitless([*records, *life(died(8), start=5)]) == []


def test_a_run_that_ends_before_its_first_step_counts_from_the_first_start() -> None:
    assert crashes.verdict(life(died(0, doing="starting")) * 2, 3) is None
    assert crashes.verdict(life(died(0, doing="starting")) * 3, 3) is not None


def test_a_machine_that_leaves_no_word_counts() -> None:
    assert crashes.verdict([*life(died(7)), *life() * 3], 3) is not None


def test_an_orderly_end_counts_anew() -> None:
    for event in ("preempted", "stopped", "finished"):
        records = [*life(died(7)), *life(died(7)) * 2, *life({"event": event, "step": 5, "rank": 0})]
        assert crashes.fruitless(records) == []


def test_the_verdict_names_steps_and_causes_but_not_what_follows_from_them() -> None:
    records = [*life(died(7)), *life(died(7), died(7, rank=0, reason="ended by the launcher")) * 2, *life(hang(5))]
    why = crashes.verdict(records, 3)
    assert why is not None
    assert "started 3 times in a row without a step beyond the furthest one, 7." in why
    assert "rank 1, training after step 7: killed (2 times)\n" in why
    assert "rank 1, training after step 5: no sign of life for 4 s (stopped)\n" in why
    assert "launcher" not in why


def test_samples_of_a_step_that_fails_again_and_again_are_passed_over() -> None:
    twice = [*life(died(7)), *life(died(7), start=5)]
    assert crashes.skips(life(died(7)), 2) == []
    assert crashes.skips(twice, 2) == [(7, None)]
    assert crashes.skips(twice, 3) == []


def test_a_fault_elsewhere_is_none_of_the_step() -> None:
    assert crashes.skips([*life(died(7)), *life(died(5), start=5)], 2) == []
    assert crashes.skips(life(died(0, doing="starting")) * 2, 2) == []


def test_what_was_passed_over_stays_so() -> None:
    records = [*life(died(7)), *life(died(7)), *life(skipped(7, 56), died(9))]
    assert crashes.skips(records, 2) == [(7, 56)]


def test_the_next_samples_of_the_same_step_count_anew() -> None:
    records = [*life(died(7)), *life(died(7)), *life(skipped(7, 56), died(7))]
    assert crashes.skips(records, 2) == [(7, 56)]
    assert crashes.skips([*records, *life(died(7))], 2) == [(7, 56), (7, None)]
