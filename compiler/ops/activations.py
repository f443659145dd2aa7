"""Element-wise functions: activations, exp, log and their kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..node import Node, Tensor
from .base import Attribute, Inferred, Op, Saved
from .common import choice, function, literal, method, number, require_kind
from .sharding import elementwise


def _same(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    require_kind(inputs["x"], "float", "x")
    return Inferred((inputs["x"],))


def _unary(name: str, doc: str, text: str, *saved: Saved) -> Op:
    """An element-wise op; `text` is "F.relu" or ".exp()"; `saved` is what backward keeps."""
    emit = method(text) if text.startswith(".") else function(text, "x")
    imports = ("F",) if text.startswith("F.") else ("layers",) if text.startswith("layers.") else ()
    return Op(name, doc, ("x",), _same, emit, imports=imports, saved=lambda node, inputs: saved, sharding=elementwise())


def _gelu_infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    choice(attrs, "approximate", ("none", "tanh"))
    return _same(inputs, attrs)


def _gelu(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return f'F.gelu({args["x"]}, approximate="tanh")' if node.attrs["approximate"] == "tanh" else f"F.gelu({args['x']})"


GELU = Op(
    "gelu",
    "x times the normal distribution function of x.",
    ("x",),
    _gelu_infer,
    _gelu,
    (Attribute("approximate", "name", "none: exact; tanh: the approximation of GPT-2", "none"),),
    saved=lambda node, inputs: ("x",),
    imports=("F",),
    sharding=elementwise(),
)


def _leaky_infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    number(attrs, "slope", 0.0)
    return _same(inputs, attrs)


LEAKY_RELU = Op(
    "leaky_relu",
    "x where positive, slope * x elsewhere.",
    ("x",),
    _leaky_infer,
    lambda node, inputs, args, callee: f"F.leaky_relu({args['x']}, {literal(node.attrs['slope'])})",
    (Attribute("slope", "float", "slope where x is negative", 0.01),),
    saved=lambda node, inputs: ("x",),
    imports=("F",),
    sharding=elementwise(),
)


def _quick_gelu(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return f"layers.quick_gelu({args['x']})"


QUICK_GELU = Op(
    "quick_gelu",
    "x * sigmoid(1.702 * x), as in CLIP.",
    ("x",),
    _same,
    _quick_gelu,
    saved=lambda node, inputs: ("x", node.outputs[0]),
    imports=("layers",),
    sharding=elementwise(),
)


ACTIVATIONS = (
    _unary("relu", "x where positive, 0 elsewhere.", "F.relu", 0),
    GELU,
    QUICK_GELU,
    _unary("silu", "x * sigmoid(x), also called swish.", "F.silu", "x"),
    LEAKY_RELU,
    _unary("tanh", "Hyperbolic tangent.", ".tanh()", 0),
    _unary("sigmoid", "1 / (1 + exp(-x)).", ".sigmoid()", 0),
    _unary("softplus", "log(1 + exp(x)).", "F.softplus", "x"),
    _unary("exp", "e to the power of x.", ".exp()", 0),
    _unary("log", "Natural logarithm.", ".log()", "x"),
    _unary("sqrt", "Square root.", ".sqrt()", 0),
    _unary("rsqrt", "1 / square root.", ".rsqrt()", 0),
    _unary("abs", "Absolute value.", ".abs()", "x"),
    _unary("sin", "Sine.", ".sin()", "x"),
    _unary("cos", "Cosine.", ".cos()", "x"),
)
