"""Operators: on compile-time values at once, on tensors as ops."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

from ...dsl.evaluate import Refused, operate
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
    try:
        symbolic = isinstance(left, Poly) or isinstance(right, Poly)
        result = _symbolic(sign, left, right) if symbolic else operate(sign, left, right)
    except Refused as refused:
        raise Undefined(f"{shown(left)} {sign} {shown(right)}: {refused}") from refused
    if isinstance(result, int) and abs(result) >= LARGEST:
        raise Undefined(f"{shown(left)} {sign} {shown(right)} is too large: whole numbers stay below 2**63")
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
