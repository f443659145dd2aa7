"""Operators: on compile-time values at once, on tensors as ops."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

from ..dims import Poly, divisible
from .values import Meaning, is_number, shown

TENSOR_OPS: Final = {
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "**": "power",
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
"""The op that an operator stands for between tensors."""

COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
LARGEST: Final = 2**63
"""Whole numbers stay below: sizes and counts of a machine."""


class Undefined(Exception):
    """A compile-time operation without a value; the text says why."""


def negative(value: Meaning) -> Meaning:
    """`-value`."""
    if not is_number(value):
        raise Undefined(f"`-` needs a number, but gets {shown(value)}")
    return -value


def compute(sign: str, left: Meaning, right: Meaning) -> Meaning:
    """`left sign right` for values known when compiling; raises Undefined."""
    if sign in ("==", "!="):
        return (left == right) == (sign == "==")
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        return left + right
    if not is_number(left) or not is_number(right):
        raise Undefined(f"`{sign}` needs numbers, but gets {shown(left)} and {shown(right)}")
    if sign in COMPARE:
        return _compare(sign, left, right)
    if right == 0 and sign in ("/", "//", "%"):
        raise Undefined(f"{shown(left)} {sign} 0 has no value")
    result = _symbolic(sign, left, right) if Poly in (type(left), type(right)) else _numeric(sign, left, right)
    if isinstance(result, float) and not math.isfinite(result):
        raise Undefined(f"{shown(left)} {sign} {shown(right)} is not a finite number")
    if isinstance(result, int) and abs(result) >= LARGEST:
        raise Undefined(f"{shown(left)} {sign} {shown(right)} is too large: whole numbers stay below 2**63")
    return result


def _numeric(sign: str, left: int | float, right: int | float) -> Meaning:
    if sign == "/":
        return left / right
    if sign == "//":
        return left // right
    if sign == "%":
        return left % right
    if sign == "**":
        return _power(left, right)
    return {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](left, right)


def _power(left: int | float, right: int | float) -> Meaning:
    try:
        exact = isinstance(left, int) and isinstance(right, int) and right >= 0
        if exact and right * math.log2(abs(left) + 1) < 128:
            return left**right
        result = float(left) ** right
    except (OverflowError, ZeroDivisionError) as error:
        raise Undefined(f"{shown(left)} ** {shown(right)} has no finite value") from error
    if isinstance(result, complex):
        raise Undefined(f"{shown(left)} ** {shown(right)} is not a real number")
    return result


def _symbolic(sign: str, left: Meaning, right: Meaning) -> Meaning:
    if isinstance(left, float) or isinstance(right, float):
        raise Undefined(f"the size `{left if isinstance(left, Poly) else right}` takes part with whole numbers only")
    if sign in ("+", "-", "*"):
        return {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](left, right)
    if sign == "//":
        return left // right
    if sign == "%" and divisible(left, right):
        return 0
    if sign == "**" and isinstance(right, int) and 0 <= right <= 8:
        return math.prod([left] * right)
    raise Undefined(f"`{shown(left)} {sign} {shown(right)}` depends on a size that is known only when the program runs")


def _compare(sign: str, left: Meaning, right: Meaning) -> bool:
    if isinstance(left, Poly) or isinstance(right, Poly):
        difference = left - right if not isinstance(left, float) and not isinstance(right, float) else None
        if not isinstance(difference, int):
            raise Undefined(f"`{left} {sign} {right}` depends on a size that is known only when the program runs")
        return COMPARE[sign](difference, 0)
    return COMPARE[sign](left, right)
