"""Blocks made concrete: one body for each distinct set of arguments."""

from __future__ import annotations

from typing import Any

from ...dsl.ast import Block, Call
from ...dsl.spec import Definition
from ..node import Body
from .finish import finished
from .scope import Scope
from .signatures import Bound, check_results
from .state import DEEPEST, Instance, State
from .statements import Returned, run
from .values import is_size, key


def lower_block(state: State, definition: Definition, bound: Bound, call: Call) -> Instance:
    """The body of a block for these arguments; equal arguments give the same body."""
    identity = _identity(definition, bound)
    known = state.instances.get(identity)
    if known is not None:
        return known
    if not _bounded(state, definition, call):
        return Instance(None)
    state.active.append(definition)
    before = state.report.errors
    instance = _lower(state, definition.block, bound)
    state.active.pop()
    if state.report.errors > before:
        instance = Instance(None)
    state.instances[identity] = instance
    return instance


def _identity(definition: Definition, bound: Bound) -> Any:
    types = tuple((name, ref.tensor) for name, ref in bound.tensors.items())
    return id(definition), types, tuple((name, key(value)) for name, value in bound.scalars.items())


def _bounded(state: State, definition: Definition, call: Call) -> bool:
    if definition in state.active:
        names = [d.block.name for d in state.active[state.active.index(definition) :]]
        cycle = " -> ".join(f"`{name}`" for name in (*names, definition.block.name))
        message = f"`{definition.block.name}` calls itself: {cycle}"
        state.report.error("E0516", message, call.function.span, "use `repeat` to apply a block several times")
        return False
    if len(state.active) >= DEEPEST:
        message = f"blocks call each other more than {DEEPEST} deep"
        state.report.error("E0517", message, call.function.span, "use `repeat` to apply a block several times")
        return False
    return True


def _lower(state: State, block: Block, bound: Bound) -> Instance:
    scope = bound.scope
    spans = {param.name: param.span for param in block.params}
    for name, ref in bound.tensors.items():
        scope.names[name] = scope.input(name, ref.tensor, spans[name])
    returned = run(state, scope, block.body)
    if returned is None:
        message = f"`{block.name}` returns nothing"
        state.report.error("E0521", message, block.name_span, "end it with `return` and its result")
    if not isinstance(returned, Returned):
        return Instance(None)
    check_results(state, scope, block, returned.refs, returned.places)
    results = tuple(ref.value for ref in returned.refs)
    body = Body(state.body_name(block.name), block.name, finished(scope), results, block.span)
    state.bodies[body.name] = body
    state.scalars[body.name] = sizes_in(scope)
    return Instance(body, tuple(ref.tensor for ref in returned.refs), bool(scope.owned))


def sizes_in(scope: Scope) -> tuple[tuple[str, Any], ...]:
    """Names of a body that stand for sizes."""
    return tuple((name, value) for name, value in scope.names.items() if is_size(value))
