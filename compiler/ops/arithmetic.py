"""Element-wise arithmetic with broadcasting: add, subtract, multiply, divide, power, negate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..node import Kind, Node, Tensor
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import POWER, PRODUCT, SUM, broadcast, literal, number, operand
from .sharding import Operands, elementwise

NUMBERS = (
    Attribute("a", "float", "a number in place of the tensor", None),
    Attribute("b", "float", "a number in place of the tensor", None),
)


def both(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Kind]:
    """Shape and kind of an element-wise result of `a` and `b`, of which one may be a number."""
    sides = []
    for name in ("a", "b"):
        given = inputs.get(name)
        if given is None and attrs.get(name) is None:
            raise ShapeError(f"`{name}` is missing", argument=name)
        if given is None:
            sides.append(Tensor((), "int" if isinstance(number(attrs, name), int) else "float"))
        else:
            sides.append(given)
    a, b = sides
    kind: Kind = "float" if "float" in (a.kind, b.kind) else "int"
    return broadcast(a.shape, b.shape), kind


def sides(node: Node, args: Mapping[str, str]) -> tuple[str, str]:
    """Expressions of `a` and `b`."""
    a, b = (args[n] if n in args else literal(node.attrs[n]) for n in ("a", "b"))
    return a, b


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    shape, kind = both(inputs, attrs)
    return Inferred((Tensor(shape, kind),))


def _infer_float(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    shape, _ = both(inputs, attrs)
    return Inferred((Tensor(shape),))


def _binary(sign: str, level: int, right: int) -> Any:
    def emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
        a, b = sides(node, args)
        return f"{operand(a, level)} {sign} {operand(b, right)}"

    return emit


def _others(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    """Each factor is kept for the gradient of the other."""
    if len(inputs) < 2:
        return ()
    kinds = dict(zip(node.args, inputs, strict=True))
    return tuple(n for n, other in (("a", "b"), ("b", "a")) if kinds[other].kind == "float")


def _divide_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    if node.args == ("a",):
        return ()
    return ("b",) if node.args == ("b",) else ("a", "b")


def _power_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    if node.args == ("a",):
        return ("a",)
    return ("b", 0) if node.args == ("b",) else ("a", "b", 0)


def _sum_parts(node: Node, inputs: Sequence[Tensor]) -> Operands:
    """A sum is linear in both together; with a number it would be added once per rank."""
    return ((0, 1),) if len(inputs) == 2 else ()


def _factors(node: Node, inputs: Sequence[Tensor]) -> Operands:
    return tuple((i,) for i in range(len(inputs)))


def _dividend(node: Node, inputs: Sequence[Tensor]) -> Operands:
    return ((0,),) if node.args[0] == "a" else ()


_AB = ("a?", "b?")
_SUM_RULE = elementwise(_sum_parts)
ADD = Op("add", "a + b, element by element.", _AB, _infer, _binary("+", SUM, SUM), NUMBERS, sharding=_SUM_RULE)
SUBTRACT = Op(
    "subtract", "a - b, element by element.", _AB, _infer, _binary("-", SUM, PRODUCT), NUMBERS, sharding=_SUM_RULE
)
MULTIPLY = Op(
    "multiply",
    "a * b, element by element.",
    _AB,
    _infer,
    _binary("*", PRODUCT, PRODUCT),
    NUMBERS,
    saved=_others,
    sharding=elementwise(_factors),
)
DIVIDE = Op(
    "divide",
    "a / b, element by element.",
    _AB,
    _infer_float,
    _binary("/", PRODUCT, POWER),
    NUMBERS,
    saved=_divide_saved,
    sharding=elementwise(_dividend),
)
POWER_OP = Op(
    "power",
    "a ** b, element by element.",
    _AB,
    _infer_float,
    _binary("**", 4, POWER),
    NUMBERS,
    saved=_power_saved,
    sharding=elementwise(),
)
NEGATE = Op(
    "negate",
    "-x.",
    ("x",),
    lambda inputs, attrs: Inferred((inputs["x"],)),
    lambda node, inputs, args, callee: f"-{operand(args['x'], PRODUCT)}",
    sharding=elementwise(((0,),)),
)
ARITHMETIC = (ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER_OP, NEGATE)
