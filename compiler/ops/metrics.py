"""Metrics: numbers to watch, not differentiated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..node import Node, Tensor
from ..placement import INVARIANT, Move, Row, Sharding, shard
from .base import Attribute, Inferred, Op, ShapeError
from .common import keywords, whole
from .losses import IGNORE, check_classes, class_call, class_row, class_sharding, ignoring, total_of
from .sharding import moving, whole_operands


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    check_classes(inputs)
    whole(attrs, "ignore", -(2**62))
    classes = inputs["logits"].shape[-1]
    if "top" in attrs and isinstance(classes, int) and whole(attrs, "top") > classes:
        raise ShapeError(f"`top` is {attrs['top']}, but there are {classes} classes", None, "top")
    return Inferred((Tensor(()),))


def _emit_accuracy(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return class_call("accuracy", node, args, keywords(top=node.attrs.get("top")))


def _emit_perplexity(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    given = ", ".join((args["logits"], args["targets"], *moving(node, "classes"), *moving(node, "samples")))
    total = f", total={total_of(node)}" if "counted" in node.attrs else ""
    return f"layers.{'split_' if moving(node, 'classes') else ''}perplexity({given}{ignoring(node)}{total})"


def _accuracy_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    return class_sharding(node, inputs, 2)


def _top_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """The classes stay whole: ranks would have to gather their `top` largest."""
    sharding = class_sharding(node, inputs, 0)
    return replace(sharding, rows=sharding.rows[1:])


def _perplexity_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """It is no sum of shares: ranks with other samples add up their losses and, unless it is known, their number."""
    moves = (Move("all_reduce", "samples", 1 if "counted" in node.attrs else 2),)
    own = (Row((shard(i), shard(i)), (), (INVARIANT,), moves) for i in range(len(inputs[1].shape)))
    return Sharding(*whole_operands(inputs), rows=(class_row(inputs, 2), *own))


_METRIC: Any = {"imports": ("layers",), "category": "metric"}
_OPERANDS = ("logits", "targets")
METRICS = (
    Op(
        "accuracy",
        "Share of rows whose largest logit is the target's.",
        _OPERANDS,
        _infer,
        _emit_accuracy,
        (IGNORE,),
        sharding=_accuracy_sharding,
        **_METRIC,
    ),
    Op(
        "top_accuracy",
        "Share of rows whose target is among the `top` largest logits.",
        _OPERANDS,
        _infer,
        _emit_accuracy,
        (Attribute("top", "int", "how many logits", 5), IGNORE),
        sharding=_top_sharding,
        **_METRIC,
    ),
    Op(
        "perplexity",
        "e to the power of the mean cross entropy of the batch.",
        _OPERANDS,
        _infer,
        _emit_perplexity,
        (IGNORE,),
        sharding=_perplexity_sharding,
        **_METRIC,
    ),
)
