"""What ops compute, as expressions: those that a kernel can take in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from ..node import Node
from .expression import FUNCTIONS, Expr, Expressions

Given = Mapping[str, Expr]
Rule = Callable[[Expressions, Node, Given], Expr | None]
"""(expressions, node, its arguments and parameters by name) -> the result; None where its attributes forbid it."""


def _side(made: Expressions, node: Node, given: Given, name: str) -> Expr:
    return given[name] if name in given else made.number(node.attrs[name])


def _binary(op: Callable[[Expressions, Expr, Expr], Expr]) -> Rule:
    return lambda made, node, given: op(made, _side(made, node, given, "a"), _side(made, node, given, "b"))


def _power(made: Expressions, node: Node, given: Given) -> Expr | None:
    if "b" in given or "a" not in given:
        return None
    return made.power(given["a"], float(node.attrs["b"]))


def _relu(made: Expressions, node: Node, given: Given) -> Expr:
    return made.maximum(given["x"], 0.0)


def _leaky_relu(made: Expressions, node: Node, given: Given) -> Expr:
    x = given["x"]
    return made.above(x, 0.0, x, made.multiply(made.number(node.attrs["slope"]), x))


def _silu(made: Expressions, node: Node, given: Given) -> Expr:
    return made.multiply(given["x"], made.function("sigmoid", given["x"]))


def _quick_gelu(made: Expressions, node: Node, given: Given) -> Expr:
    x = given["x"]
    return made.multiply(x, made.function("sigmoid", made.multiply(made.number(1.702), x)))


def _gelu(made: Expressions, node: Node, given: Given) -> Expr:
    x, half, one = given["x"], made.number(0.5), made.number(1)
    if node.attrs["approximate"] == "tanh":
        cube = made.multiply(x, made.multiply(x, x))
        inner = made.add(x, made.multiply(made.number(0.044715), cube))
        bent = made.function("tanh", made.multiply(made.number(math.sqrt(2 / math.pi)), inner))
    else:
        bent = made.function("erf", made.multiply(made.number(math.sqrt(0.5)), x))
    return made.multiply(x, made.multiply(half, made.add(bent, one)))


def _softplus(made: Expressions, node: Node, given: Given) -> Expr:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    x = given["x"]
    small = made.function("exp", made.negate(made.function("abs", x)))
    return made.add(made.maximum(x, 0.0), made.function("log", made.add(small, made.number(1))))


def _rms_norm(made: Expressions, node: Node, given: Given) -> Expr:
    x = given["x"]
    square = made.named(made.reduce("mean", made.multiply(x, x)), "mean_square")
    scale = made.function("rsqrt", made.add(square, made.number(node.attrs["eps"])))
    return made.multiply(made.multiply(x, made.named(scale, "scale")), given["weight"])


def _layer_norm(made: Expressions, node: Node, given: Given) -> Expr:
    x = given["x"]
    mean = made.named(made.reduce("mean", x), "mean")
    centred = made.named(made.subtract(x, mean), "centred")
    variance = made.named(made.reduce("mean", made.multiply(centred, centred)), "variance")
    scale = made.function("rsqrt", made.add(variance, made.number(node.attrs["eps"])))
    scaled = made.multiply(made.multiply(centred, made.named(scale, "scale")), given["weight"])
    return made.add(scaled, given["bias"]) if "bias" in given else scaled


def _shifted(made: Expressions, x: Expr) -> Expr:
    """x - max(x): the shift changes neither softmax nor its gradient."""
    most = made.named(made.reduce("max", x), "most")
    return made.subtract(x, made.constant(most))


def _softmax(made: Expressions, node: Node, given: Given) -> Expr:
    power = made.named(made.function("exp", _shifted(made, given["x"])), "power")
    return made.divide(power, made.named(made.reduce("sum", power), "total"))


def _log_softmax(made: Expressions, node: Node, given: Given) -> Expr:
    shifted = made.named(_shifted(made, given["x"]), "shifted")
    total = made.named(made.reduce("sum", made.function("exp", shifted)), "total")
    return made.subtract(shifted, made.function("log", total))


def _normalize(made: Expressions, node: Node, given: Given) -> Expr:
    x = given["x"]
    length = made.function("sqrt", made.named(made.reduce("sum", made.multiply(x, x)), "square"))
    return made.divide(x, made.named(made.maximum(length, float(node.attrs["eps"])), "length"))


def _reduce(made: Expressions, node: Node, given: Given) -> Expr | None:
    return made.reduce(node.op, given["x"]) if node.attrs["keep"] else None


def _same(made: Expressions, node: Node, given: Given) -> Expr | None:
    return None if node.attrs["rate"] else given["x"]


MEANING: Final[Mapping[str, Rule]] = {
    "add": _binary(Expressions.add),
    "subtract": _binary(Expressions.subtract),
    "multiply": _binary(Expressions.multiply),
    "divide": _binary(Expressions.divide),
    "power": _power,
    "negate": lambda made, node, given: made.negate(given["x"]),
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "silu": _silu,
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
    "softplus": _softplus,
    "dropout": _same,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "normalize": _normalize,
    "sum": _reduce,
    "mean": _reduce,
    "max": _reduce,
} | {
    name: (lambda made, node, given, name=name: made.function(name, given["x"]))
    for name in FUNCTIONS
    if name not in ("erf", "sign")
}
ROWS: Final = frozenset({"rms_norm", "layer_norm", "softmax", "log_softmax", "normalize", "sum", "mean", "max"})
"""Ops that reduce over the last dimension."""
NORMS: Final = frozenset({"rms_norm", "layer_norm"})
GATES: Final = frozenset({"silu", "gelu", "sigmoid", "relu", "quick_gelu"})


def reduced_dimensions(node: Node, rank: int) -> tuple[int, ...]:
    """The dimensions, counted from 0, that a node of ROWS reduces or normalises."""
    if node.op in NORMS:
        return (rank - 1,)
    given = node.attrs["dim"]
    if given is None:
        return tuple(range(rank))
    return tuple(d % rank for d in (given if isinstance(given, tuple | list) else (given,)))
