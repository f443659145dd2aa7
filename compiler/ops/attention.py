"""scaled_dot_product_attention: each query's average of values, weighted by its likeness to the keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim, divisible, product
from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import broadcast, literal, number, require_kind, require_rank, require_same
from .sharding import aligned


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    query, key, value = (inputs[name] for name in ("query", "key", "value"))
    for name in ("query", "key", "value"):
        require_kind(inputs[name], "float", name)
        require_rank(inputs[name], (4,), name, "[batch, heads, length, size]")
    require_same(query.shape[3], key.shape[3], "`key` has heads of size {b}, but `query` of {a}", "key")
    require_same(key.shape[2], value.shape[2], "`value` has length {b}, but `key` has {a}", "value")
    for name in ("key", "value"):
        require_same(query.shape[0], inputs[name].shape[0], f"`{name}` has batch {{b}}, but `query` has {{a}}", name)
    require_same(key.shape[1], value.shape[1], "`value` has {b} heads, but `key` has {a}", "value")
    if not divisible(query.shape[1], key.shape[1]):
        raise ShapeError(
            f"{query.shape[1]} query heads are not a multiple of {key.shape[1]} key heads",
            "each key head serves the same number of query heads",
            "key",
        )
    _check_mask(inputs.get("mask"), query, key, bool(attrs["causal"]))
    number(attrs, "dropout", 0.0, 1.0)
    if attrs["scale"] is not None:
        number(attrs, "scale")
    return Inferred((Tensor((*query.shape[:3], value.shape[3])),))


def _check_mask(mask: Tensor | None, query: Tensor, key: Tensor, causal: bool) -> None:
    if causal:
        require_same(
            query.shape[2], key.shape[2], "causal attention needs queries and keys of one length: {a} and {b}", "causal"
        )
    if mask is None:
        return
    if causal:
        raise ShapeError("`mask` and `causal: true` exclude each other", "put the causal part into the mask", "mask")
    if mask.kind == "int":
        raise ShapeError(f"`mask` must be bool (true: attend) or float (added), but is {mask}", None, "mask")
    scores = (*query.shape[:3], key.shape[2])
    if broadcast(scores, mask.shape, ("query", "mask")) != scores:
        raise ShapeError(f"`mask` {mask} does not fit the scores {Tensor(scores)}", None, "mask")


def _emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    attrs = node.attrs
    options = f", attn_mask={args['mask']}" if "mask" in args else ""
    if attrs["dropout"]:
        options += f", dropout_p={literal(attrs['dropout'])} if self.training else 0.0"
    options += ", is_causal=True" if attrs["causal"] else ""
    options += f", scale={literal(attrs['scale'])}" if attrs["scale"] is not None else ""
    options += ", enable_gqa=True" if inputs[0].shape[1] != inputs[1].shape[1] else ""
    return f"F.scaled_dot_product_attention({args['query']}, {args['key']}, {args['value']}{options})"


def _flops(node: Node, inputs: Sequence[Tensor]) -> Dim:
    """Two products per pair of query and key; causal: of S*S pairs the S*(S + 1)/2 that are attended.

    torch's FlopCounterMode counts all S*S pairs of causal attention.
    """
    query, key, value = inputs[:3]
    twice_pairs = query.shape[2] * ((query.shape[2] + 1) if node.attrs["causal"] else 2 * key.shape[2])
    return product(query.shape[:2]) * twice_pairs * (query.shape[3] + value.shape[3])


def _saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    """A fused kernel keeps its operands, its result, and one number per query (the log of the sum of exponentials)."""
    return ("query", "key", "value", *(("mask",) if len(inputs) > 3 else ()), 0, Tensor(inputs[0].shape[:3]))


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Samples and heads; a group of query heads goes with its key head. Ranks draw the same numbers for dropout."""
    query, _, value = inputs[:3]
    heads = "." if node.attrs["dropout"] else "h"
    letters = f"b{heads}.."
    mask = tuple(aligned(x.shape, (*query.shape[:3], value.shape[2]), letters) for x in inputs[3:])
    return Sharding((letters, letters, letters, *mask), (), (letters,))


SCALED_DOT_PRODUCT_ATTENTION = Op(
    "scaled_dot_product_attention",
    "softmax(query key^T * scale) value; [B, heads, length, size]; fewer key than query heads are shared in groups.",
    ("query", "key", "value", "mask?"),
    _infer,
    _emit,
    (
        Attribute("causal", "bool", "each position attends to itself and earlier ones only", False),
        Attribute("scale", "float", "factor of the scores; none: 1 / sqrt(size)", None),
        Attribute("dropout", "float", "share of attention weights dropped in training", 0.0),
    ),
    flops=_flops,
    saved=_saved,
    imports=("F",),
    sharding=_sharding,
)
