"""Meaning of an expression: nodes for what works on tensors, values for what is known when compiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...dsl.ast import Argument, Binary, Call, Expr, Hole, Literal, Name, Number, Sequence, Unary
from ..ops import OPS
from .arithmetic import TENSOR_OPS, Undefined, compute, negative
from .calls import apply, run_op, words
from .matching import Given
from .names import function, look_up
from .scope import Scope
from .values import POISON, Meaning, Ref, Several, is_fixed, is_number, shown

if TYPE_CHECKING:
    from .state import State


def evaluate(state: State, scope: Scope, expression: Expr, hint: str | None = None) -> Meaning:
    """What the expression stands for; `hint` names the node of a tensor that it makes."""
    match expression:
        case Number():
            return _number(state, expression)
        case Literal():
            return expression.value
        case Name():
            return look_up(state, scope, expression)
        case Sequence():
            return _sequence(state, scope, expression)
        case Unary():
            return _unary(state, scope, expression, hint)
        case Binary():
            return _binary(state, scope, expression, hint)
        case Call():
            return _call(state, scope, expression, hint)
        case Hole():
            return POISON


def tensor(state: State, scope: Scope, expression: Expr, what: str, hint: str | None = None) -> Ref | None:
    """The one tensor that the expression stands for; None after an error."""
    return one_tensor(state, evaluate(state, scope, expression, hint), expression, what)


def one_tensor(state: State, meaning: Meaning, expression: Expr, what: str) -> Ref | None:
    """The meaning of an expression if it is a tensor; None after an error."""
    if isinstance(meaning, Ref) or meaning is POISON:
        return meaning if isinstance(meaning, Ref) else None
    if isinstance(meaning, Several):
        message = f"{what} needs one tensor, but this call gives {len(meaning.refs)} results"
        state.report.error("E0522", message, expression.span, "unpack them first: (a, b) = ...")
    else:
        state.report.error("E0505", f"{what} needs a tensor, but this is {shown(meaning)}", expression.span)
    return None


def fixed(state: State, scope: Scope, expression: Expr, what: str) -> Meaning:
    """The compile-time value of the expression; POISON after an error."""
    meaning = evaluate(state, scope, expression)
    if meaning is POISON or is_fixed(meaning):
        return meaning
    message = f"{what} must be known when compiling, but this is {shown(meaning)}"
    state.report.error("E0505", message, expression.span)
    return POISON


def _number(state: State, number: Number) -> Meaning:
    if number.unit is None:
        return number.value
    if number.unit == "%":
        return number.value / 100
    message = f"a number in the model has no unit, but this one has `{number.unit}`"
    state.report.error("E0505", message, number.span, f"write {number.value}")
    return POISON


def _call(state: State, scope: Scope, call: Call, hint: str | None) -> Meaning:
    target = function(state, scope, call.function)
    given = arguments(state, scope, call.arguments, words(target) if target is not None else frozenset())
    return apply(state, scope, call, target, given, hint) if target is not None else POISON


def arguments(state: State, scope: Scope, written: tuple[Argument, ...], plain: frozenset[str]) -> tuple[Given, ...]:
    """Arguments with their meaning; those named in `plain` take a bare word (`init: zeros`)."""
    return tuple(Given(one, _argument(state, scope, one, one.name in plain)) for one in written)


def _argument(state: State, scope: Scope, argument: Argument, plain: bool) -> Meaning:
    value = argument.value
    if plain and isinstance(value, Name) and not isinstance(scope.peek(value.text), str):
        return value.text
    return evaluate(state, scope, value)


def _sequence(state: State, scope: Scope, sequence: Sequence) -> Meaning:
    items = [evaluate(state, scope, item) for item in sequence.items]
    if any(item is POISON for item in items):
        return POISON
    if items and not sequence.is_list and all(isinstance(item, Ref) for item in items):
        return Several(tuple(items))
    for item, expression in zip(items, sequence.items, strict=True):
        if not is_fixed(item):
            message = f"a list holds values known when compiling, but this is {shown(item)}"
            state.report.error("E0505", message, expression.span, "pass tensors one by one")
            return POISON
    return tuple(items)


def _unary(state: State, scope: Scope, unary: Unary, hint: str | None) -> Meaning:
    operand = evaluate(state, scope, unary.operand)
    if operand is POISON:
        return POISON
    if unary.operator == "not":
        return POISON if not _is_truth(state, operand, unary.operand, "not") else not operand
    if isinstance(operand, Ref):
        return run_op(state, scope, OPS["negate"], {"x": operand}, {}, unary.span, hint, {"x": unary.operand})
    try:
        return negative(operand)
    except Undefined as undefined:
        state.report.error("E0531", str(undefined), unary.span)
        return POISON


def _is_truth(state: State, value: Meaning, place: Expr, sign: str) -> bool:
    """Whether the value is true or false; reports it otherwise."""
    if not isinstance(value, bool):
        state.report.error("E0505", f"`{sign}` needs true or false, but this is {shown(value)}", place.span)
    return isinstance(value, bool)


def _binary(state: State, scope: Scope, binary: Binary, hint: str | None) -> Meaning:
    chain = [binary]
    while isinstance(chain[-1].left, Binary):
        chain.append(chain[-1].left)
    left = evaluate(state, scope, chain[-1].left)
    for step in reversed(chain):
        left = _step(state, scope, step, left, hint if step is binary else None)
    return left


def _step(state: State, scope: Scope, binary: Binary, left: Meaning, hint: str | None) -> Meaning:
    if binary.operator in ("and", "or"):
        return _logic(state, scope, binary, left)
    right = evaluate(state, scope, binary.right)
    if left is POISON or right is POISON:
        return POISON
    for side, place in ((left, binary.left), (right, binary.right)):
        if isinstance(side, Several):
            message = f"`{binary.operator}` needs one value on each side, but this call gives {shown(side)}"
            state.report.error("E0522", message, place.span, "unpack them first: (a, b) = ...")
            return POISON
    if isinstance(left, Ref) or isinstance(right, Ref):
        return _on_tensors(state, scope, binary, left, right, hint)
    try:
        return compute(binary.operator, left, right)
    except Undefined as undefined:
        state.report.error("E0531", str(undefined), binary.span)
        return POISON


def _logic(state: State, scope: Scope, binary: Binary, left: Meaning) -> Meaning:
    """`and` and `or` look at the right side only where it matters."""
    if left is POISON or not _is_truth(state, left, binary.left, binary.operator):
        return POISON
    if left is (binary.operator == "or"):
        return left
    right = evaluate(state, scope, binary.right)
    return right if right is not POISON and _is_truth(state, right, binary.right, binary.operator) else POISON


def _on_tensors(state: State, scope: Scope, binary: Binary, left: Meaning, right: Meaning, hint: str | None) -> Meaning:
    name = TENSOR_OPS.get(binary.operator)
    sides = {"a": left, "b": right}
    for side, place in zip(sides.values(), (binary.left, binary.right), strict=True):
        if not isinstance(side, Ref) and not is_number(side):
            message = f"`{binary.operator}` needs tensors or numbers, but this is {shown(side)}"
            state.report.error("E0505", message, place.span)
            return POISON
    if name is None or name not in OPS:
        message = f"`{binary.operator}` does not work on tensors"
        state.report.error("E0531", message, binary.span, f"operators on tensors: {' '.join(TENSOR_OPS)}")
        return POISON
    tensors = {key: side for key, side in sides.items() if isinstance(side, Ref)}
    numbers = {key: side for key, side in sides.items() if not isinstance(side, Ref)}
    places = {"a": binary.left, "b": binary.right}
    return run_op(state, scope, OPS[name], tensors, numbers, binary.span, hint, places)
