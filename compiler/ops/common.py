"""What the op records share: checks of attributes and shapes, and pieces of Python text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..dims import Dim
from ..node import Node, Tensor
from .base import Attribute, Inferred, ShapeError

Infer = Callable[[Mapping[str, Any], Mapping[str, Any]], Inferred]
Emit = Callable[[Node, Sequence[Tensor], Mapping[str, str], str], str]

DIM = Attribute("dim", "int", "which dimension, counted from 0, or from the end if negative", -1)
INIT = Attribute("init", "name", "start values: normal, zeros, ones or kaiming", "normal")
STD = Attribute("std", "float", "standard deviation of normal start values", 0.02)


def whole(attrs: Mapping[str, Any], name: str, least: int = 1) -> int:
    """The attribute as a whole number that is at least `least`."""
    value = attrs[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ShapeError(f"`{name}` must be a whole number, but is {shown(value)}", argument=name)
    if value < least:
        raise ShapeError(f"`{name}` must be at least {least}, but is {value}", argument=name)
    return value


def number(attrs: Mapping[str, Any], name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """The attribute as a finite number from `low` to `high`; a whole number stays one."""
    value = attrs[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ShapeError(f"`{name}` must be a finite number, but is {shown(value)}", argument=name)
    if not low <= value <= high:
        text = f"at least {low}" if high == math.inf else f"at most {high}" if low == -math.inf else f"{low} to {high}"
        raise ShapeError(f"`{name}` must be {text}, but is {value}", argument=name)
    return value


def choice(attrs: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    """The attribute as one of a closed set of words."""
    value = attrs[name]
    if value not in choices:
        listed = ", ".join(choices)
        raise ShapeError(f"`{name}` is {shown(value)}", f"choose one of: {listed}", name)
    return str(value)


def start(attrs: Mapping[str, Any]) -> str:
    """Start values of a weight from its `init` and `std` attributes."""
    kind = choice(attrs, "init", ("normal", "zeros", "ones", "kaiming"))
    return f"normal({number(attrs, 'std', 0.0)})" if kind == "normal" else kind


def shown(value: object) -> str:
    """A value as a reader of the spec knows it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def dimension(attrs: Mapping[str, Any], x: Tensor, argument: str = "x", name: str = "dim") -> int:
    """The attribute as a dimension of `x`, counted from 0."""
    value = whole(attrs, name, least=-1_000)
    rank = len(x.shape)
    if not -rank <= value < rank:
        raise ShapeError(
            f"`{name}` is {value}, but `{argument}` {x} has {rank} dimensions", f"use {-rank} to {rank - 1}", name
        )
    return value % rank


def fixed(size: Dim, argument: str, what: str) -> int:
    """A size that parameters need: known when compiling."""
    if not isinstance(size, int):
        raise ShapeError(
            f"{what} of `{argument}` is `{size}`, but must be a number when compiling: parameters depend on it",
            "give the input a fixed size there, or rearrange so that a fixed dimension is in its place",
            argument,
        )
    return size


def require_rank(x: Tensor, ranks: tuple[int, ...], argument: str, shape: str) -> None:
    """Error unless `x` has one of the numbers of dimensions; `shape` describes what is expected."""
    if len(x.shape) not in ranks:
        raise ShapeError(f"`{argument}` must be {shape}, but is {x} with {len(x.shape)} dimensions", argument=argument)


def require_kind(x: Tensor, kind: str, argument: str) -> None:
    """Error unless `x` holds values of the kind."""
    if x.kind != kind:
        help = f"cast({argument}, to: {kind})" if kind == "float" else None
        raise ShapeError(f"`{argument}` must hold {kind} values, but is {x}", help, argument)


def require_same(a: Dim, b: Dim, message: str, argument: str, help: str | None = None) -> None:
    """Error with both sizes unless they are equal; `message` may use {a} and {b}."""
    if a != b:
        raise ShapeError(message.format(a=a, b=b), help, argument)


def broadcast(a: tuple[Dim, ...], b: tuple[Dim, ...], names: tuple[str, str] = ("a", "b")) -> tuple[Dim, ...]:
    """Shape of an element-wise result: aligned at the end, a size of 1 stretches."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    result: list[Dim] = []
    for i, (m, n) in enumerate(zip(left, right, strict=True)):
        if m != n and m != 1 and n != 1:
            raise ShapeError(
                f"{Tensor(a)} and {Tensor(b)} do not fit: sizes {m} and {n} in dimension {i - rank}",
                "element-wise operations align shapes at the end; sizes must be equal or 1",
                names[1],
            )
        result.append(n if m == 1 else m)
    return tuple(result)


def literal(value: object) -> str:
    """Python text of a number, truth value, or tuple of numbers; nothing else can reach an expression."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(literal(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    raise TypeError(f"{value!r} cannot become code")


def keywords(**values: object) -> str:
    """`, dim=-1, keepdim=True` for the values that are not None; goes after a first argument."""
    return "".join(f", {name}={literal(value)}" for name, value in values.items() if value is not None)


SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4
"""How tightly an expression binds."""


def operand(text: str, level: int = ATOM) -> str:
    """The expression, in parentheses if it binds less tightly than `level`."""
    return text if _level(text) >= level else f"({text})"


def _level(text: str) -> int:
    import ast

    tree = ast.parse(text, mode="eval").body
    if isinstance(tree, ast.BinOp):
        if isinstance(tree.op, ast.Add | ast.Sub):
            return SUM
        return POWER if isinstance(tree.op, ast.Pow) else PRODUCT
    if isinstance(tree, ast.UnaryOp):
        return PRODUCT if isinstance(tree.op, ast.USub) else 0
    return ATOM if isinstance(tree, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant) else 0


def method(template: str, argument: str = "x") -> Emit:
    """Emission of `x.method(...)`: the template goes after the argument."""
    return lambda node, inputs, args, callee: operand(args[argument]) + template


def function(name: str, *arguments: str) -> Emit:
    """Emission of `name(x, y)`."""
    return lambda node, inputs, args, callee: f"{name}({', '.join(args[a] for a in arguments)})"


def module_call(*arguments: str) -> Emit:
    """Emission of `self.label(x)`."""
    return lambda node, inputs, args, callee: f"{callee}({', '.join(args[a] for a in arguments)})"
