"""Parameters, memory and traffic of a rank that holds a part of the experts."""

from __future__ import annotations

from dskc.compiler.build import check, make_plan
from dskc.compiler.memory import memory_of
from dskc.compiler.passes.cost import model_cost
from dskc.compiler.traffic import traffic_of

from .examples import source_of

EXPERTS = 4 * 3 * 16 * 192 * 128  # four layers, three matrices each


def test_a_rank_holds_and_moves_its_part() -> None:
    data, split = ("parallel.world_size=4",), ("parallel.world_size=4", "parallel.expert_parallel=2")
    found = []
    for flags in (data, split):
        checked = check(source_of("deepseek_small"), None, flags)
        assert checked.spec is not None
        assert checked.lowered is not None
        plan = make_plan(checked.spec, checked.lowered)
        (memory,) = memory_of(plan, checked.spec)
        (traffic,) = traffic_of(plan, checked.spec)
        found.append((model_cost(plan).parameters, memory, traffic.amounts(plan.layout)))
    (whole, before, _), (part, after, moved) = found

    assert whole - part == EXPERTS // 2
    assert before.parameters - after.parameters == 4 * EXPERTS // 2

    calls, size = moved["expert", "all_to_all"]
    rows = 4 * 8 * 128 * 192  # four experts for each of 8 x 128 tokens: as many as go come, where all are used evenly
    assert calls == 4 * 5  # forward: numbers of rows, rows there and back; backward: rows there and back
    assert 4 * (4 * rows * 2 + 16 * 8) <= size <= 4 * (4 * rows * 4 + 16 * 8)  # in bf16 or fp32
    assert moved["replica", "all_reduce"][1] == 4 * EXPERTS // 2
