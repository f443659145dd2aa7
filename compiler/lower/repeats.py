"""Repeats: the body is lowered once, whatever the count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...dsl.ast import Repeat
from ..node import Body, Node
from .binding import bound_names
from .expressions import fixed
from .finish import finished, inlined
from .ownership import register
from .scope import Scope
from .state import State
from .values import POISON, Poison, Ref, is_fixed, is_size, shown

Run = Callable[[State, Scope, Any], Any]


def repeat(state: State, scope: Scope, statement: Repeat, run: Run) -> None:
    """Adds a repeat; names bound outside and bound again inside are carried from one iteration to the next."""
    count = _count(state, scope, statement)
    inner = Scope(scope.owner, scope.visible, scope)
    before = state.report.errors
    run(state, inner, statement.body)
    rebound = [name for name in inner.names if scope.binds(name)]
    carried = [name for name in rebound if isinstance(scope.peek(name), Ref)]
    for name in inner.names:
        if name not in rebound:
            scope.missing.setdefault(name, (statement.span, "bound inside this repeat only"))
    if state.report.errors > before or count is None or _wrong(state, scope, inner, statement, rebound):
        scope.poison(tuple(rebound))
        return
    _add(state, scope, inner, statement, carried, count)


def _count(state: State, scope: Scope, statement: Repeat) -> int | None:
    count = fixed(state, scope, statement.count, "the count of a repeat")
    if count is POISON:
        return None
    if isinstance(count, int) and not isinstance(count, bool) and count >= 1:
        return count
    known = "must be a whole number, at least 1"
    help = "remove the repeat, or put it in an `if`" if count == 0 and count is not False else None
    if is_size(count) and not isinstance(count, int):
        known = "must be a number when compiling"
    state.report.error("E0518", f"the count of a repeat {known}, but is {shown(count)}", statement.count.span, help)
    return None


def _wrong(state: State, scope: Scope, inner: Scope, statement: Repeat, rebound: list[str]) -> bool:
    """Reports what cannot be repeated."""
    before = state.report.errors
    poisoned = any(isinstance(value, Poison) for value in inner.names.values())
    for name in rebound:
        old, new = scope.peek(name), inner.names[name]
        if POISON in (old, new):
            continue
        if isinstance(old, Ref) and isinstance(new, Ref):
            if old.tensor != new.tensor:
                message = f"`{name}` is {old.tensor} before an iteration, but {new.tensor} after it"
                same = "a repeated body must keep the shape of what it changes"
                state.report.error("E0519", message, _place(statement, name), same)
        else:
            message = f"`{name}` is {shown(old)} before the repeat, but {shown(new)} after an iteration"
            help = "only tensors change from one iteration to the next" if is_fixed(old) else None
            state.report.error("E0519", message, _place(statement, name), help)
    if not rebound and not poisoned and state.report.errors == before:
        message = "this repeat changes nothing: it binds no name again that is bound before it"
        state.report.error("E0520", message, statement.count.span, "for example repeat 3 { x = relu(x) }")
    return state.report.errors > before or poisoned


def _place(statement: Repeat, name: str) -> Any:
    places = [place for bound, place in bound_names(statement.body) if bound == name]
    return places[-1] if places else statement.span


def _add(state: State, scope: Scope, inner: Scope, statement: Repeat, carried: list[str], count: int) -> None:
    label = statement.label or "repeat"
    if inner.owned and not register(state, scope, label, statement.count.span):
        scope.poison(tuple(carried))
        return
    given: dict[str, Ref] = {}
    for name in carried:
        outer = scope.look_up(name, statement.span)
        assert isinstance(outer, Ref)
        given[name] = outer
        inner.capture(name, outer, statement.span)
    for name in inner.captured:
        outer = scope.look_up(name, statement.span)
        assert isinstance(outer, Ref)
        given[name] = outer
    body = _body(state, inner, label, carried, tuple(given), statement)
    outputs = tuple(ref.tensor for ref in (given[name] for name in carried))
    node = scope.add(
        label if len(carried) > 1 else carried[0],
        "repeat",
        tuple(ref.value for ref in given.values()),
        outputs,
        statement.span,
        attrs={"carried": len(carried)},
        args=tuple(given),
        label=label if inner.owned else None,
        body=body.name,
        count=count,
    )
    for index, name in enumerate(carried):
        scope.names[name] = Ref((node.name, index), outputs[index])


def _body(
    state: State, inner: Scope, label: str, carried: list[str], order: tuple[str, ...], statement: Repeat
) -> Body:
    """The body of an iteration: the one block that it calls, as it is or in line, or a body of its own."""
    inputs = tuple(_input(inner, name) for name in order)
    rest = tuple(node for node in inner.nodes if node.op != "input")
    results = tuple(inner.names[name].value for name in carried)
    only = _only_owner(inner)
    if only is not None and rest == (only,):
        called = state.bodies[str(only.body)]
        if only.inputs == _values(inputs) and results == _outputs(only):
            return called
    if only is not None:
        rest, results = inlined(inner, rest, results, only, state.bodies[str(only.body)])
    inner.nodes = [*inputs, *rest]
    body = Body(state.body_name(label), label, finished(inner), results, statement.span)
    state.bodies[body.name] = body
    state.scalars[body.name] = ()
    return body


def _only_owner(inner: Scope) -> Node | None:
    """The call of a block that alone owns the parameters of an iteration, so that the iteration is named after it."""
    if len(inner.labelled) != 1 or inner.explicit:
        return None
    (node,) = inner.labelled.values()
    return node if node.op == "call" and node.share is None else None


def _input(inner: Scope, name: str) -> Node:
    wanted = inner.captured[name].value[0]
    return next(node for node in inner.nodes if node.name == wanted)


def _values(inputs: tuple[Node, ...]) -> tuple[tuple[str, int], ...]:
    return tuple((node.name, 0) for node in inputs)


def _outputs(node: Node) -> tuple[tuple[str, int], ...]:
    return tuple((node.name, index) for index in range(len(node.outputs)))
