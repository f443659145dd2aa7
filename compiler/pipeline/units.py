"""What the model can be cut into: nodes, and iterations of repeats, with their work and what crosses a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dims import Dim, substitute
from ..formats import WIDTH
from ..node import Node
from ..ops import OPS
from ..plan import Plan
from .flatten import Flat, Line, Step

BACKWARD = 2
"""Backward work in terms of forward work: the gradients of the inputs and of the parameters."""
UNDIFFERENTIATED = frozenset({"stop_gradient"})


@dataclass(frozen=True)
class Unit:
    """An indivisible part: a step, or one iteration of it.

    `work` are the operations of forward and backward in one micro-batch; `crossing` the bytes that cross a cut before
    it, None where it would carry no gradient: a stage has to pass one on.
    """

    step: int
    iteration: int
    work: int
    crossing: int | None


def units_of(plan: Plan, line: Line) -> list[Unit]:
    """All units in order."""
    uses = last_uses(plan, line)
    learned = differentiable(plan, line)
    found: list[Unit] = []
    for index, step in enumerate(line.steps):
        times = step.node.count if step.node.op == "repeat" else 1
        work = _number(plan, step.node.cost.flops if step.node.cost else 0) * (1 + BACKWARD) // times
        before = [value for value, (made, used) in uses.items() if made < index <= used]
        inside = _inside(step, uses, index)
        for iteration in range(times):
            alive = inside if iteration else before
            carries = any(value in learned for value in alive)
            size = sum(_bytes(plan, line, value) for value in alive)
            found.append(Unit(index, iteration, work, size if carries else None))
    return found


def _inside(step: Step, uses: dict[Flat, tuple[int, int]], index: int) -> list[Flat]:
    """What is alive between two iterations: what goes around, what each one reads, what is needed after the last."""
    if step.node.op != "repeat":
        return []
    carried = step.node.attrs["carried"]
    alive = dict.fromkeys((step.path, k) for k in range(carried))
    alive |= dict.fromkeys(value for value in step.inputs[carried:] if value in uses)
    alive |= dict.fromkeys(value for value, (made, used) in uses.items() if made < index < used)
    return list(alive)


def last_uses(plan: Plan, line: Line) -> dict[Flat, tuple[int, int]]:
    """For each value that a step makes: that step, and the last one that reads it; losses are read at the end."""
    made = {(step.path, k): i for i, step in enumerate(line.steps) for k in range(len(step.node.outputs))}
    used = {value: made[value] for value in made}
    for index, step in enumerate(line.steps):
        used.update((value, index) for value in step.inputs if value in made)
    for objective in plan.objectives:
        value = line.values[objective.value]
        if objective.kind != "exit" and value in made:
            used[value] = len(line.steps) - 1
    return {value: (made[value], used[value]) for value in made}


def differentiable(plan: Plan, line: Line) -> set[Flat]:
    """The values that a gradient may flow through."""
    learned = owning(plan)
    found: set[Flat] = set()
    for step in line.steps:
        node = step.node
        own = any(p.trained for p in node.parameters) or node.op == "extern" or node.body in learned
        if (own or any(value in found for value in step.inputs)) and learns(node):
            found |= {(step.path, k) for k, tensor in enumerate(node.outputs) if tensor.kind == "float"}
    return found


def learns(node: Node) -> bool:
    """Whether gradients pass through a node."""
    return node.op not in UNDIFFERENTIATED and (node.op not in OPS or OPS[node.op].category != "metric")


def owning(plan: Plan) -> set[str | None]:
    """Bodies that run a trained parameter."""
    found: dict[str, bool] = {}

    def owns(body: str) -> bool:
        if body not in found:
            found[body] = any(
                any(p.trained for p in n.parameters) or n.op == "extern" or (n.body is not None and owns(n.body))
                for n in plan.nodes(body)
            )
        return found[body]

    return {body for body in plan.graphs if owns(body)}


def _bytes(plan: Plan, line: Line, value: Flat) -> int:
    made = line.types[value]
    return _number(plan, made.tensor.elements) * WIDTH[made.dtype]


def _number(plan: Plan, size: Dim) -> int:
    value = substitute(size, plan.sizes)
    assert isinstance(value, int), f"a symbolic size is left over: {value}"
    return value


def cuts(units: Sequence[Unit], first: Sequence[int]) -> dict[int, list[tuple[int, int, int]]]:
    """For each step its pieces (stage, first iteration, iterations), from the first unit of each stage after 0."""
    pieces: dict[int, list[tuple[int, int, int]]] = {}
    stage = 0
    starts = set(first)
    for index, unit in enumerate(units):
        stage += index in starts
        rows = pieces.setdefault(unit.step, [])
        if rows and rows[-1][0] == stage:
            rows[-1] = (stage, rows[-1][1], rows[-1][2] + 1)
        else:
            rows.append((stage, unit.iteration, 1))
    return pieces
