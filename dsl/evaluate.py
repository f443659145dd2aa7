"""Compile-time expressions: numbers, strings, booleans, tuples, quantities, and whatever else overloads operators."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from . import ast
from .diagnostics import Sink
from .suggest import correction
from .values import AUTO, UNITS, Quantity, Symbol, Variant, quantity

MAX_BITS = 4_096
MAX_LENGTH = 10_000
MAX_DEPTH = 200
MAX_LISTS = 8


class Failed:
    """The type of `FAILED`: there is no value, and it was said why."""

    def __repr__(self) -> str:
        return "failed"


FAILED: Final = Failed()
Lookup = Callable[[ast.Name], object]


class Refused(Exception):
    """An operation that its operands do not allow; the text says so to the user."""


OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def evaluate(expr: ast.Expr, lookup: Lookup, sink: Sink, depth: int = 0) -> object:
    """The value of an expression, or FAILED once the reason is in the sink; `lookup` gives names their meaning."""
    if depth > MAX_DEPTH:
        sink.error("E0210", f"value is nested more than {MAX_DEPTH} deep", expr.span, "name parts of it with `let`")
        return FAILED
    match expr:
        case ast.Number():
            return _number(expr, sink)
        case ast.Literal():
            return expr.value
        case ast.Name():
            return AUTO if expr.path == ("auto",) else lookup(expr)
        case ast.Sequence():
            items = tuple([evaluate(item, lookup, sink, depth + 1) for item in expr.items])
            failed = any(item is FAILED for item in items)
            return FAILED if failed else _attempt(expr, sink, lambda: _bounded(items))
        case ast.Unary():
            operand = evaluate(expr.operand, lookup, sink, depth + 1)
            return FAILED if operand is FAILED else _attempt(expr, sink, lambda: negate(expr.operator, operand))
        case ast.Binary():
            return _binary(expr, lookup, sink, depth)
        case ast.Call():
            return _variant(expr, lookup, sink, depth)
        case _:
            return FAILED


def operate(symbol: str, left: Any, right: Any) -> Any:
    """`left symbol right`; Refused when that makes no sense or is too large."""
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        return _with_units(symbol, left, right)
    if symbol in ("==", "!="):
        return OPERATORS[symbol](left, right)
    for side in (left, right):
        if side is None or side is AUTO or isinstance(side, (bool, Symbol, Variant)):
            raise Refused(f"`{symbol}` does not apply to {describe(side)}")
    _bound(symbol, left, right)
    try:
        result = OPERATORS[symbol](left, right)
    except ZeroDivisionError:
        raise Refused("division by zero") from None
    except (TypeError, NotImplementedError):
        raise Refused(f"`{symbol}` does not apply to {describe(left)} and {describe(right)}") from None
    except (OverflowError, ValueError):
        raise Refused("result is too large") from None
    if isinstance(result, complex) or (isinstance(result, float) and not isfinite(result)):
        raise Refused("result is not a finite real number")
    return result


def negate(symbol: str, operand: Any) -> Any:
    """`-operand`, `+operand` or `not operand`."""
    if symbol == "not":
        if not isinstance(operand, bool):
            raise Refused(f"`not` takes true or false, not {describe(operand)}")
        return not operand
    if isinstance(operand, Quantity):
        return Quantity(negate(symbol, operand.value), operand.dimension)
    return operate("-" if symbol == "-" else "+", 0, operand)


def describe(value: object) -> str:
    """What a value is, for a message."""
    if isinstance(value, bool) or value is None or value is AUTO:
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'text "{value[:40]}"'
    if isinstance(value, (int, float, Quantity)):
        return f"{str(value)[:40]}"
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    return f"`{value.kind}(...)`" if isinstance(value, Variant) else f"`{value}`"


def _number(expr: ast.Number, sink: Sink) -> object:
    if isinstance(expr.value, float) and not isfinite(expr.value):
        sink.error("E0210", "number is too large", expr.span, "the largest is about 1.8e308")
        return FAILED
    if expr.unit is None:
        return expr.value
    if expr.unit not in UNITS:
        span = type(expr.span)(expr.span.source, expr.span.end - len(expr.unit), expr.span.end)
        fix = correction(expr.unit, UNITS, span)
        remedy = f"a similar unit exists: `{fix.replacement}`" if fix else f"known units: {', '.join(UNITS)}"
        if expr.unit in ("k", "K", "M"):
            remedy = "write the number out; underscores may part its digits: 20_000"
        sink.error("E0209", f"unknown unit `{expr.unit}`", span, remedy, fix=fix)
        return FAILED
    return _attempt(expr, sink, lambda: _scaled(expr.value, expr.unit or ""))


def _scaled(value: int | float, unit: str) -> Quantity:
    try:
        return quantity(value, unit)
    except OverflowError:
        raise Refused("number is too large") from None


def _binary(expr: ast.Binary, lookup: Lookup, sink: Sink, depth: int) -> object:
    """Walks down the left side in a loop: `1 + 1 + ...` may be thousands of terms long."""
    chain = [expr]
    while isinstance(chain[-1].left, ast.Binary):
        chain.append(chain[-1].left)
    value = evaluate(chain[-1].left, lookup, sink, depth + 1)
    for step in reversed(chain):
        value = _step(step, value, lookup, sink, depth)
    return value


def _step(expr: ast.Binary, left: object, lookup: Lookup, sink: Sink, depth: int) -> object:
    if expr.operator in ("and", "or") and isinstance(left, bool) and left is (expr.operator == "or"):
        return left
    right = evaluate(expr.right, lookup, sink, depth + 1)
    if left is FAILED or right is FAILED:
        return FAILED
    if expr.operator in ("and", "or"):
        return _attempt(expr, sink, lambda: _logical(expr.operator, left, right))
    return _attempt(expr, sink, lambda: operate(expr.operator, left, right))


def _logical(symbol: str, left: object, right: object) -> bool:
    for side in (left, right):
        if not isinstance(side, bool):
            raise Refused(f"`{symbol}` takes true or false, not {describe(side)}")
    return bool(right)


def _variant(expr: ast.Call, lookup: Lookup, sink: Sink, depth: int) -> object:
    values = [(a.name, evaluate(a.value, lookup, sink, depth + 1)) for a in expr.arguments]
    if any(value is FAILED for _, value in values):
        return FAILED
    positional = tuple(value for name, value in values if name is None)
    return Variant(expr.function.text, positional, tuple((name, value) for name, value in values if name is not None))


def _attempt(expr: ast.Expr, sink: Sink, work: Callable[[], object]) -> object:
    try:
        return work()
    except Refused as refused:
        sink.error("E0210", str(refused), expr.span, "change the expression so that it has a value")
        return FAILED


def _bounded(items: tuple[object, ...], depth: int = 0) -> tuple[object, ...]:
    """A list as it is; `let` could make one that holds itself over and over refuse to end when it is written out."""
    if depth > MAX_LISTS or _weight(items) > MAX_LENGTH:
        raise Refused("list is too long or nested too deeply")
    for item in items:
        if isinstance(item, tuple):
            _bounded(item, depth + 1)
    return items


def _weight(items: tuple[object, ...]) -> int:
    """Number of items, those of inner lists included, as far as it matters."""
    waiting, count = [items], 0
    while waiting and count <= MAX_LENGTH:
        inner = waiting.pop()
        count += len(inner)
        waiting += [item for item in inner if isinstance(item, tuple)]
    return count


def _with_units(symbol: str, left: Any, right: Any) -> Any:
    """Quantities of one dimension add and compare; a quantity and a number multiply."""
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        if left.dimension != right.dimension or symbol in ("*", "**", "%"):
            raise Refused(f"`{symbol}` does not apply to {describe(left)} and {describe(right)}")
        result = operate(symbol, left.value, right.value)
        return Quantity(result, left.dimension) if symbol in ("+", "-") else result
    unit, number = (left, right) if isinstance(left, Quantity) else (right, left)
    fits = symbol == "*" or (symbol in ("/", "//") and unit is left)
    if not fits or isinstance(number, bool) or not isinstance(number, (int, float)):
        raise Refused(f"`{symbol}` does not apply to {describe(left)} and {describe(right)}")
    return Quantity(operate(symbol, unit.value, number), unit.dimension)


def _bound(symbol: str, left: Any, right: Any) -> None:
    """Refuses what would take long or much memory, before it does."""
    if symbol == "**" and isinstance(left, int) and isinstance(right, int):
        if right < 0 and left == 0:
            raise Refused("division by zero")
        if left.bit_length() * abs(right) > MAX_BITS:
            raise Refused("result is too large")
    whole = isinstance(left, int) and isinstance(right, int)
    if symbol == "*" and whole and left.bit_length() + right.bit_length() > MAX_BITS:
        raise Refused("result is too large")
    sized = isinstance(left, (str, tuple)) or isinstance(right, (str, tuple))
    if not sized:
        return
    if symbol == "*" or symbol == "%":
        raise Refused(f"`{symbol}` does not apply to {describe(left)} and {describe(right)}")
    if symbol == "+" and type(left) is type(right) and len(left) + len(right) > MAX_LENGTH:
        raise Refused("result is too long")
