"""Peak memory of each rank of the pipeline, from the placed plan."""

from __future__ import annotations

from ...dsl.spec import Spec
from ..dims import Dim, substitute
from ..passes.cost import model_cost
from ..passes.precision import STORED, WIDTH
from ..plan import Plan
from .stage import StageMemory

MARGIN = 0.06
"""Share of the peak that the caching allocator of CUDA may hold beyond it."""


def memory_of(plan: Plan, spec: Spec) -> tuple[StageMemory, ...]:
    """One entry for each rank of the pipeline; ranks of the other axes hold the same."""
    cost = model_cost(plan)
    stored = cost.parameters * 4
    copies = cost.parameters * 2 if spec.precision.compute in ("bf16", "fp16") else 0
    kept = _number(plan, cost.saved)
    states = int(spec.setting("optimizer.momentum") != 0.0) if spec.optimizer.kind == "sgd" else 2
    ranks = plan.layout.pipeline
    data = plan.layout.data if plan.layout.shard != "none" else 1
    in_flight = [min(ranks - rank, spec.training.gradient_accumulation) for rank in range(ranks)]
    batch = _batch_bytes(plan)
    return tuple(
        StageMemory(
            rank=rank,
            parameters=stored // ranks,
            gradients=stored // ranks,
            optimizer=stored * states // ranks // data,
            copies=copies // ranks,
            activations=kept * count // ranks,
            recompute=0,
            transient=0,
            communication=0,
            buffers=batch,
            moment="backward",
            margin=int(MARGIN * (stored * (2 + states) + copies + kept) / ranks),
        )
        for rank, count in enumerate(in_flight)
    )


def _batch_bytes(plan: Plan) -> int:
    amount = 0
    for node in plan.nodes("forward"):
        if node.op == "input":
            amount += _number(plan, node.outputs[0].elements) * WIDTH[STORED[node.outputs[0].kind]]
    return amount


def _number(plan: Plan, size: Dim) -> int:
    value = substitute(size, plan.sizes)
    assert isinstance(value, int), f"a symbolic size is left over: {value}"
    return value
