"""Comparisons and choices: equal, less ..., logical_and/or/not, where, clamp, cast, stop_gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..node import Kind, Node, Tensor
from .arithmetic import NUMBERS, both, sides
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import SUM, Emit, broadcast, choice, keywords, number, operand, require_kind
from .sharding import Operands, elementwise


def _compare(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    shape, _ = both(inputs, attrs)
    return Inferred((Tensor(shape, "bool"),))


def _infix(sign: str) -> Emit:
    def emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
        a, b = sides(node, args)
        return f"{operand(a, SUM)} {sign} {operand(b, SUM)}"

    return emit


_EACH = elementwise()


def _comparison(name: str, sign: str) -> Op:
    return Op(name, f"a {sign} b, element by element.", ("a?", "b?"), _compare, _infix(sign), NUMBERS, sharding=_EACH)


def _logical(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    for name in inputs:
        require_kind(inputs[name], "bool", name)
    return Inferred((Tensor(broadcast(*(x.shape for x in inputs.values())), "bool"),))


def _not(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    require_kind(inputs["x"], "bool", "x")
    return Inferred((inputs["x"],))


def _infix_atoms(sign: str) -> Emit:
    return lambda node, inputs, args, callee: f"{operand(args['a'])} {sign} {operand(args['b'])}"


def _where(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    condition: Tensor = inputs["condition"]
    require_kind(condition, "bool", "condition")
    shape, kind = both(inputs, attrs)
    return Inferred((Tensor(broadcast(condition.shape, shape, ("condition", "a")), kind),))


def _emit_where(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    a, b = sides(node, args)
    return f"torch.where({args['condition']}, {a}, {b})"


def _clamp(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    limits = [number(attrs, name) for name in ("min", "max") if attrs[name] is not None]
    if not limits:
        raise ShapeError("neither `min` nor `max` is given", "for example clamp(x, max: 100)", "x")
    if limits[0] > limits[-1]:
        raise ShapeError(f"`min` {limits[0]} is above `max` {limits[-1]}", None, "min")
    x: Tensor = inputs["x"]
    if x.kind != "float" and not all(isinstance(limit, int) for limit in limits):
        raise ShapeError(f"`x` is {x}, so limits must be whole numbers", None, "min")
    return Inferred((x,))


def _emit_clamp(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    options = keywords(min=node.attrs["min"], max=node.attrs["max"]).removeprefix(", ")
    return f"{operand(args['x'])}.clamp({options})"


_CASTS: dict[str, str] = {"float": ".float()", "int": ".long()", "bool": ".bool()"}


def _cast(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    kinds: dict[str, Kind] = {"float": "float", "int": "int", "bool": "bool"}
    return Inferred((Tensor(inputs["x"].shape, kinds[choice(attrs, "to", tuple(kinds))]),))


def _float_x(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    return ("x",) if inputs[0].kind == "float" else ()


def _choices(node: Node, inputs: Sequence[Tensor]) -> Operands:
    """Linear in what is chosen from; a number other than 0 would be added once per rank."""
    tensors = tuple(i for i, name in enumerate(node.args) if name in ("a", "b"))
    numbers = (node.attrs[name] for name in ("a", "b") if name not in node.args)
    return () if any(numbers) or node.outputs[0].kind == "bool" else (tensors,)


def _kept_numbers(node: Node, inputs: Sequence[Tensor]) -> Operands:
    """Casts that round nothing are linear."""
    exact = (("int", "int"), ("int", "float"), ("float", "float"))
    return ((0,),) if (inputs[0].kind, node.outputs[0].kind) in exact else ()


LOGIC = (
    _comparison("equal", "=="),
    _comparison("not_equal", "!="),
    _comparison("less", "<"),
    _comparison("less_equal", "<="),
    _comparison("greater", ">"),
    _comparison("greater_equal", ">="),
    Op("logical_and", "Whether both hold.", ("a", "b"), _logical, _infix_atoms("&"), sharding=_EACH),
    Op("logical_or", "Whether one holds.", ("a", "b"), _logical, _infix_atoms("|"), sharding=_EACH),
    Op(
        "logical_not",
        "The opposite.",
        ("x",),
        _not,
        lambda node, inputs, args, callee: f"~{operand(args['x'])}",
        sharding=_EACH,
    ),
    Op(
        "where",
        "a where the condition holds, b elsewhere.",
        ("condition", "a?", "b?"),
        _where,
        _emit_where,
        NUMBERS,
        saved=lambda node, inputs: ("condition",) if node.outputs[0].kind == "float" else (),
        sharding=elementwise(_choices),
    ),
    Op(
        "clamp",
        "Values below `min` or above `max` become those.",
        ("x",),
        _clamp,
        _emit_clamp,
        (Attribute("min", "float", "least value", None), Attribute("max", "float", "largest value", None)),
        saved=_float_x,
        sharding=_EACH,
    ),
    Op(
        "cast",
        "Turns values into float, int or bool.",
        ("x",),
        _cast,
        lambda node, inputs, args, callee: operand(args["x"]) + _CASTS[choice(node.attrs, "to", tuple(_CASTS))],
        (Attribute("to", "name", "float, int or bool"),),
        sharding=elementwise(_kept_numbers),
    ),
    Op(
        "stop_gradient",
        "The same values, as constants for backward.",
        ("x",),
        lambda inputs, attrs: Inferred((inputs["x"],)),
        lambda node, inputs, args, callee: f"{operand(args['x'])}.detach()",
        sharding=elementwise(((0,),)),
    ),
)
