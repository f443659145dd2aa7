"""Lowering: the model part of a spec becomes concrete bodies of typed nodes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ...dsl.diagnostics import Sink
from ...dsl.spec import Spec
from ..node import Body, Objective, Tensor, Value
from .batches import advise_batches
from .bounds import check_bounds
from .expressions import evaluate
from .finish import finished
from .inputs import add_inputs, check_sizes, prediction, sizes, targets
from .instances import lower_block, sizes_in
from .legend import add_legends
from .objectives import apply_to_exits
from .parameters import tensors
from .ranges import check_ranges
from .report import Reporter
from .scope import Scope
from .state import State
from .statements import run
from .unused import warn_unused

__all__ = ["Lowered", "lower", "sizes"]

MOST_PARAMETERS: Final = 100_000
FRAMES: Final = 50_000
"""Blocks in each other may be as deep as DEEPEST, each with nested expressions."""


@dataclass(frozen=True)
class Lowered:
    """A model made concrete.

    `bodies` holds each body after those that it runs, "forward" last. `prediction` (in "forward") is what the first
    loss compares with the targets; `targets` are the inputs that it does not depend on. `sizes` binds B and S.
    """

    name: str
    bodies: dict[str, Body]
    objectives: tuple[Objective, ...]
    inputs: tuple[tuple[str, Tensor], ...]
    prediction: Value
    targets: tuple[str, ...]
    sizes: dict[str, int]


def lower(spec: Spec, sink: Sink) -> Lowered | None:
    """The model of a spec; None after errors, which are in the sink."""
    state = State(spec, Reporter(sink), lower_block, lambda state, scope, expr: evaluate(state, scope, expr))
    with _deep_recursion():
        forward = _forward(state)
    if state.report.errors:
        return None
    warn_unused(spec, sink)
    state.bodies["forward"] = forward
    state.bodies = _reachable(state.bodies)
    check_bounds(state, forward)
    check_ranges(state, forward)
    _check_learns(state, forward)
    if state.report.errors:
        return None
    advise_batches(state, forward)
    count = tensors(state.bodies)
    if count > MOST_PARAMETERS:
        message = f"the model has {count:,} parameter tensors, more than {MOST_PARAMETERS:,}"
        state.report.error("E0517", message, spec.forward.name_span, "use `repeat` for what is the same each time")
        return None
    add_legends(state)
    return _lowered(state)


def _forward(state: State) -> Body:
    spec = state.spec
    scope = Scope("forward", spec.scope)
    add_inputs(state, scope)
    run(state, scope, spec.forward.body)
    apply_to_exits(state, scope)
    if "loss" not in state.kinds:
        message = "`forward` has no loss, so there is nothing to train"
        state.report.error("E0525", message, spec.forward.name_span, "end it with loss cross_entropy(logits, targets)")
    nodes = finished(scope)
    check_sizes(state, nodes)
    state.scalars["forward"] = sizes_in(scope)
    return Body("forward", "forward", nodes, tuple(o.value for o in state.objectives), spec.forward.span)


def _check_learns(state: State, forward: Body) -> None:
    """Each loss comes from a parameter; torch has no gradient for one that does not."""
    owning: set[str | None] = set()
    for name, body in state.bodies.items():  # a body comes after those that it runs
        if any(node.parameters or node.op == "extern" or node.body in owning for node in body.nodes):
            owning.add(name)
    nodes = {node.name: node for node in forward.nodes}
    for loss in (each for each in state.objectives if each.kind == "loss"):
        waiting, seen = [loss.value[0]], set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen and nodes[name].op != "stop_gradient":
                seen.add(name)
                waiting += [source for source, _ in nodes[name].inputs]
        if not any(nodes[name].parameters or nodes[name].body in owning or nodes[name].op == "extern" for name in seen):
            message = f"the loss `{loss.name}` depends on no parameter, so there is nothing to train"
            state.report.error("E0525", message, loss.span, "give the model a layer, such as `linear`")


def _lowered(state: State) -> Lowered:
    body = state.bodies["forward"]
    predicted = prediction(body, next(o for o in state.objectives if o.kind == "loss"))
    given = tuple((node.name, node.outputs[0]) for node in body.nodes if node.op == "input")
    objectives = tuple(state.objectives)
    late = targets(body, predicted)
    return Lowered(state.spec.name, state.bodies, objectives, given, predicted, late, sizes(state.spec))


def _reachable(bodies: dict[str, Body]) -> dict[str, Body]:
    """Bodies that the model runs, in the order they were made."""
    needed: set[str] = set()
    waiting = ["forward"]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [node.body for node in bodies[name].nodes if node.body is not None]
    return {name: body for name, body in bodies.items() if name in needed}


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Room for blocks nested to the limit, which is checked and reported by itself."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
