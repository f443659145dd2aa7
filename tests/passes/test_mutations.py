"""A collective that is missing, doubled or in the wrong place is refused, and the message says where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dskc.compiler.check_parameters import parameter_faults
from dskc.compiler.check_placement import placement_faults
from dskc.compiler.node import Node
from dskc.compiler.placement import AXES, INVARIANT, REPLICATED, shard
from dskc.compiler.plan import Plan
from dskc.compiler.verify import PlanError, verify

from .examples import EXAMPLES, EXPERTS, LAYOUTS, placed, placed_in
from .mutants import Mutant, mutants

# Each example with its tensors, its sequences where it has some, and its samples and parameters split over ranks.
CASES = [
    *((name, "zero") for name in EXAMPLES),
    *((name, "sequence") for name in ("bert", "deepseek_small")),
    *((name, "tensor") for name in ("digits", "vit_digits")),
    *(("stdlib_gpt", layout) for layout in LAYOUTS if layout != "zero"),
]
PIPELINE = (
    "parallel.world_size=4",
    "parallel.pipeline_depth=2",
    "parallel.tensor_model_parallel=2",
    "training.gradient_accumulation=2",
)


def survivors(plan: Plan) -> tuple[int, list[str]]:
    """How many mutants there are, and those that the checker does not refuse as it should."""
    broken = list(mutants(plan))
    faults = [(mutant.what, _unnoticed(mutant)) for mutant in broken]
    return len(broken), [f"{what}: {fault}" for what, fault in faults if fault is not None]


def _unnoticed(mutant: Mutant) -> str | None:
    lines = _faults(mutant)
    told = [
        line
        for line in lines
        if any(p in line for p in mutant.places) and any(f"`{name}`" in line for name in mutant.names)
    ]
    return None if told else f"no message names it at {mutant.places}: {lines}" if lines else "it passes"


def _faults(mutant: Mutant) -> list[str]:
    if mutant.sync:  # nodes are as they were, and there are many syncs: only what looks at them is run
        return list(parameter_faults(mutant.plan, [a for a in AXES if getattr(mutant.plan.layout, a) > 1]))
    try:
        verify(mutant.plan)
    except PlanError as error:
        return str(error).splitlines()[1:]
    return []


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_every_mutant_is_refused_with_its_place(name: str, layout: str) -> None:
    plan = placed_in(name, layout)
    assert list(placement_faults(plan)) == []

    count, alive = survivors(plan)

    assert alive == []
    assert count > 20


def test_every_mutant_of_experts_on_several_ranks_is_refused() -> None:
    plan = placed("deepseek_small", *EXPERTS)
    assert list(placement_faults(plan)) == []
    assert {sync.axis for sync in plan.syncs} == {"data", "replica"}
    assert sum(len(node.moves) for node in plan.nodes("mixture_of_experts")) == 3

    count, alive = survivors(plan)

    assert alive == []
    assert count > 20


def test_an_exchange_that_is_left_out_with_its_types_is_refused_where_rows_meet_experts() -> None:
    def stays(body: str, node: Node) -> Node:
        if node.op not in ("dispatch", "combine"):
            return node
        return replace(node, moves=(), placements=tuple({**p, "expert": INVARIANT} for p in node.placements))

    faults = list(placement_faults(placed("deepseek_small", *EXPERTS).rewrite(stays)))

    assert any("`gate`" in fault and "`weight` is S(0) on the expert axis" in fault for fault in faults)
    assert any(fault.endswith("`down` is S(0) on the expert axis, but `combine` needs I") for fault in faults)


def test_rows_at_their_experts_cannot_be_gathered_over_the_data_axis() -> None:
    plan = placed("deepseek_small", *EXPERTS)
    body = "mixture_of_experts"
    gate = next(node for node in plan.nodes(body) if node.name == "gate")
    attrs = {"axis": "data", "source": shard(0), "target": REPLICATED}
    wrong = replace(gate, op="collective", inputs=gate.inputs[:1], attrs=attrs, parameters=(), label=None)
    changed = plan.rewrite(lambda name, node: wrong if (name, node.name) == (body, "gate") else node)
    changed.graphs[body].remove_edge(gate.inputs[1][0], "gate", key=1)

    assert any("lies by expert, not by the samples" in fault for fault in placement_faults(changed))


def test_a_missing_sync_is_found_after_every_pass() -> None:
    plan = placed_in("stdlib_gpt", "both")

    with pytest.raises(PlanError, match="the gradient of its `weight` is partial on the data axis"):
        verify(replace(plan, syncs=plan.syncs[1:]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_mutant_of_a_pipeline_is_refused(name: str) -> None:
    plan = placed(name, *(PIPELINE if name != "dense_100b" else ()), last="pipeline")
    assert plan.stages
    assert list(placement_faults(plan)) == []

    count, alive = survivors(plan)

    assert alive == []
    assert count > 20
