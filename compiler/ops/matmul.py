"""matmul: product of the last two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim
from ..node import Node, Tensor
from ..placement import Sharding
from .base import Inferred, Op
from .common import PRODUCT, broadcast, operand, require_kind, require_rank, require_same
from .sharding import aligned, spelled


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    a, b = inputs["a"], inputs["b"]
    for name in ("a", "b"):
        require_kind(inputs[name], "float", name)
        require_rank(inputs[name], (2, 3, 4, 5), name, "[..., rows, columns]")
    message = "`a` has {a} columns, but `b` has {b} rows"
    require_same(a.shape[-1], b.shape[-2], message, "b", "transpose(b) exchanges its last two dimensions")
    return Inferred((Tensor((*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])),))


def _emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return f"{operand(args['a'], PRODUCT)} @ {operand(args['b'])}"


def _flops(node: Node, inputs: Sequence[Tensor]) -> Dim:
    return 2 * node.outputs[0].elements * inputs[0].shape[-1]


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    batch = node.outputs[0].shape[:-2]
    letters = spelled(len(batch))
    a, b = (aligned(x.shape[:-2], batch, letters) for x in inputs)
    return Sharding((a + "RK", b + "KC"), (), (letters + "RC",), "K", ((0,), (1,)))


MATMUL = Op(
    "matmul",
    "Product of matrices in the last two dimensions; the others broadcast.",
    ("a", "b"),
    _infer,
    _emit,
    flops=_flops,
    saved=lambda node, inputs: ("a", "b"),
    sharding=_sharding,
)
