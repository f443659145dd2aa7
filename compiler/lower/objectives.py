"""Losses, metrics and early exits of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, cast

from ...dsl import ast
from ...dsl.diagnostics import Label
from ..node import Node, Objective, Tensor, Value
from .calls import apply, words
from .expressions import arguments, fixed, one_tensor, tensor
from .matching import Given
from .names import function
from .scope import Scope
from .state import State, Stated
from .values import POISON, Ref, shown

EXIT_WEIGHT: Final = 0.3
"""Weight of the loss of an exit, unless it says otherwise."""
OPTIONS: Final = {"loss": ("weight",), "exit": ("weight",), "metric": ()}


def objective(state: State, scope: Scope, statement: ast.Objective) -> None:
    """Adds a loss, metric or exit of the model."""
    if scope.owner != "forward" or scope.parent is not None:
        where = "inside a repeat" if scope.parent is not None else f"in the block `{scope.owner}`"
        message = f"`{statement.kind}` stands in `forward` only, not {where}"
        state.report.error("E0523", message, statement.span, "return the tensor and state it in `forward`")
        return
    weight = _weight(state, scope, statement)
    name = _name(statement)
    found, given = _evaluate(state, scope, statement, name)
    state.kinds.add(statement.kind)
    if found is None or not _unique(state, statement, name) or weight is None:
        return
    if statement.kind != "exit" and not _is_scalar(state, statement, found.tensor):
        return
    kind = cast(Literal["loss", "metric", "exit"], statement.kind)
    state.objectives.append(Objective(kind, name, found.value, weight, statement.span))
    state.stated.append(Stated(name, statement, given, found.value))


def _evaluate(state: State, scope: Scope, statement: ast.Objective, name: str) -> tuple[Ref | None, tuple[Given, ...]]:
    """The tensor of a statement, and the arguments of the call that it is."""
    value, what = statement.value, f"`{statement.kind}`"
    called = function(state, scope, value.function) if isinstance(value, ast.Call) else None
    if called is None or not isinstance(value, ast.Call):
        return (None if isinstance(value, ast.Call) else tensor(state, scope, value, what, name)), ()
    given = arguments(state, scope, value.arguments, words(called))
    return one_tensor(state, apply(state, scope, value, called, given, name), value, what), given


def _name(statement: ast.Objective) -> str:
    value = statement.value
    if statement.label:
        return statement.label
    if isinstance(value, ast.Call):
        return value.label or value.function.path[-1]
    return value.path[-1] if isinstance(value, ast.Name) else statement.kind


def _weight(state: State, scope: Scope, statement: ast.Objective) -> float | None:
    weight: float | None = EXIT_WEIGHT if statement.kind == "exit" else 1.0
    for option in statement.options:
        if option.name not in OPTIONS[statement.kind]:
            listed = ", ".join(OPTIONS[statement.kind])
            message = f"`{statement.kind}` has no option `{option.name or option.span.text}`"
            help = f"its options: {listed}" if listed else "it has none"
            state.report.error("E0526", message, option.span, help)
            continue
        value = fixed(state, scope, option.value, "a weight")
        weight = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if weight is None and value is not POISON:
            state.report.error("E0526", f"a weight is a number, but this is {shown(value)}", option.value.span)
        if weight == 0:
            help = "remove it, or state it as a `metric`; `if` leaves it out of a profile"
            state.report.error("E0526", f"a {statement.kind} of weight 0 has no effect", option.value.span, help)
    return weight


def _unique(state: State, statement: ast.Objective, name: str) -> bool:
    place = statement.value.span
    if name == "loss":
        message = "`loss` is the name of the sum of all losses"
        state.report.error("E0527", message, place, f"name this one otherwise: {statement.kind} ... as name")
        return False
    other = next((o for o in state.objectives if o.name == name), None)
    if other is None:
        return True
    message = f"two results of `forward` are called `{name}`"
    labels = (Label(other.span, f"`{name}` here too"),)
    state.report.error("E0527", message, place, f"give one of them a name: {statement.kind} ... as name", labels)
    return False


def _is_scalar(state: State, statement: ast.Objective, found: Tensor) -> bool:
    if found.shape == () and found.kind == "float":
        return True
    message = f"a {statement.kind} is one number, but this is {found}"
    help = "reduce it: mean(...)" if found.kind == "float" else None
    state.report.error("E0524", message, statement.value.span, help)
    return False


def apply_to_exits(state: State, scope: Scope) -> None:
    """Adds the first loss and each metric of the prediction, with each exit in the place of the prediction."""
    exits = [o for o in state.objectives if o.kind == "exit"]
    losses = [s for s in state.stated if s.statement.kind == "loss"]
    if not exits or not losses:
        return
    prediction = _prediction(scope, losses[0])
    if prediction is None:
        message = "the first loss must be a call `loss_op(prediction, targets)`, so that it can be applied to an exit"
        labels = (Label(exits[0].span, "the exit"),)
        state.report.error("E0534", message, losses[0].statement.value.span, labels=labels)
        return
    metrics = [s for s in state.stated if s.statement.kind == "metric" and _prediction(scope, s) == prediction]
    for exit in exits:
        ref = Ref(exit.value, _node(scope, exit.value).outputs[exit.value[1]])
        for stated in (losses[0], *metrics):
            _apply(state, scope, stated, ref, exit)


def _prediction(scope: Scope, stated: Stated) -> Value | None:
    """The first input of the call that a loss or metric is."""
    if not isinstance(stated.statement.value, ast.Call):
        return None
    node = _node(scope, stated.value)
    return node.inputs[0] if node.inputs else None


def _apply(state: State, scope: Scope, stated: Stated, exit: Ref, target: Objective) -> None:
    call, node = stated.statement.value, _node(scope, stated.value)
    assert isinstance(call, ast.Call)
    called = function(state, scope, call.function)
    assert called is not None
    position = next(i for i, one in enumerate(stated.given) if one.argument.name in (None, node.args[0]))
    given = [Given(one.argument, exit) if i == position else one for i, one in enumerate(stated.given)]
    shared = ast.Name((node.label,), call.span) if node.label else call.share
    name = f"{stated.name}_{target.name}"
    again = replace(call, label=None, share=shared, span=target.span)
    result = apply(state, scope, again, called, given, name)
    if isinstance(result, Ref):
        kind = cast(Literal["loss", "metric"], stated.statement.kind)
        weight = target.weight if kind == "loss" else 1.0
        state.objectives.append(Objective(kind, name, result.value, weight, target.span))


def _node(scope: Scope, value: Value) -> Node:
    return next(node for node in scope.nodes if node.name == value[0])
