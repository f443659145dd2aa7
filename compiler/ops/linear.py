"""linear: a learned matrix on the last dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim
from ..node import Node, Parameter, Tensor
from ..placement import PARTIAL, REPLICATED, Row, Sharding, shard
from .base import Attribute, Inferred, Op
from .common import INIT, STD, fixed, module_call, require_kind, require_rank, start, whole
from .sharding import cut, partial, spelled


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
    if node.attrs["bias"] and (axes := partial(node.parameters[1].placement)):
        return f"layers.RowLinear({width}, {out}, {', '.join(axes)})"
    return f"nn.Linear({width}, {out}{'' if node.attrs['bias'] else ', bias=False'})"


def _flops(node: Node, inputs: Sequence[Tensor]) -> Dim:
    return 2 * node.outputs[0].elements * inputs[0].shape[-1]


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Where the product is partial, so is the bias: it is added once."""
    rank = len(inputs[0].shape)
    letters, weight = spelled(rank, -1), ("oi",)
    if not node.attrs["bias"]:
        return Sharding((letters[:-1] + "i",), weight, (letters[:-1] + "o",), "i", ((0,),))
    rows = Row((shard(rank - 1),), (shard(1), PARTIAL), (PARTIAL,)), Row((PARTIAL,), (REPLICATED, PARTIAL), (PARTIAL,))
    return Sharding((letters,), ("o.", "o"), (letters[:-1] + "o",), rows=rows)


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
    sharding=_sharding,
    local=lambda node, sizes: {**node.attrs, "out": node.attrs["out"] // cut(node, sizes, -1)},
)
