"""linear: a learned matrix on the last dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim
from ..node import Node, Parameter, Tensor
from .base import Attribute, Inferred, Op
from .common import INIT, STD, fixed, module_call, require_kind, require_rank, start, whole


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    require_rank(x, tuple(range(1, 9)), "x", "[..., features]")
    out, width = whole(attrs, "out"), fixed(x.shape[-1], "x", "the last size")
    weight = Parameter("weight", (out, width), start(attrs))
    bias = (Parameter("bias", (out,), "zeros", decays=False),) if attrs["bias"] else ()
    return Inferred((Tensor((*x.shape[:-1], out)),), (weight, *bias))


def _module(node: Node) -> str:
    out, width = node.parameters[0].shape
    return f"nn.Linear({width}, {out}{'' if node.attrs['bias'] else ', bias=False'})"


def _flops(node: Node, inputs: Sequence[Tensor]) -> Dim:
    return 2 * node.outputs[0].elements * inputs[0].shape[-1]


LINEAR = Op(
    "linear",
    "Multiplies the last dimension by a learned matrix: [..., in] -> [..., out].",
    ("x",),
    _infer,
    module_call("x"),
    (
        Attribute("out", "int", "size of the last dimension of the result"),
        Attribute("bias", "bool", "whether to add a learned offset", False),
        INIT,
        STD,
    ),
    flops=_flops,
    saved=lambda node, inputs: ("x",),
    module=_module,
)
