"""The ladder of time-outs: each shorter than the next, or the two that are not are named."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dskc.runtime.errors import RunError
from dskc.runtime.recovery import LADDER, WHY, Times

SECONDS = st.floats(0.1, 1e6)


def test_the_defaults_are_in_order() -> None:
    rungs = [asdict(Times())[name] for name in LADDER]
    assert rungs == sorted(rungs)
    assert set(asdict(Times())) == {*LADDER, "preemption"}
    assert set(WHY) == set(LADDER[:-1])


@given(st.lists(SECONDS, min_size=5, max_size=5), SECONDS)
def test_only_a_growing_ladder_is_taken(rungs: list[float], preemption: float) -> None:
    wrong = [index for index, (first, second) in enumerate(pairwise(rungs)) if first >= second]
    if not wrong:
        assert Times(*rungs, preemption).data == rungs[-1]
        return
    with pytest.raises(RunError) as caught:
        Times(*rungs, preemption)
    shorter, longer = LADDER[wrong[0]], LADDER[wrong[0] + 1]
    first, second = rungs[wrong[0]], rungs[wrong[0] + 1]
    assert f"the time-out `{shorter}` ({first:g} s) has to be shorter than `{longer}` ({second:g} s)" in str(
        caught.value
    )


@pytest.mark.parametrize("name", [*LADDER, "preemption"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_each_is_a_time(name: str, seconds: float) -> None:
    with pytest.raises(RunError, match=f"`{name}`.* above 0 and finite"):
        replace(Times(), **{name: seconds})
