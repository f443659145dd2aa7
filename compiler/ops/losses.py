"""Losses: means over the batch, in fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..node import Node, Tensor
from .base import Attribute, Inferred, Op, Saved
from .common import keywords, number, operand, require_kind, require_rank, require_same, whole


def check_classes(inputs: Mapping[str, Any]) -> None:
    """Error unless targets are whole numbers with the shape of the logits without its last dimension."""
    logits, targets = inputs["logits"], inputs["targets"]
    require_kind(logits, "float", "logits")
    require_rank(logits, (2, 3, 4, 5), "logits", "[..., classes]")
    require_kind(targets, "int", "targets")
    require_same(
        Tensor(logits.shape[:-1], "int"),  # type: ignore[arg-type]
        targets,
        "`targets` is {b}, but `logits` ask for {a}",
        "targets",
        "one class number for each row of logits",
    )


def _cross_entropy(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    check_classes(inputs)
    number(attrs, "label_smoothing", 0.0, 1.0)
    whole(attrs, "ignore", least=-(2**62))
    return Inferred((Tensor(()),))


def _emit_cross_entropy(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    flat = len(inputs[0].shape) > 2
    logits = operand(args["logits"]) + (".flatten(0, -2)" if flat else "") + ".float()"
    targets = operand(args["targets"]) + ".flatten()" if flat else args["targets"]
    options = keywords(
        ignore_index=None if node.attrs["ignore"] == -100 else node.attrs["ignore"],
        label_smoothing=node.attrs["label_smoothing"] or None,
    )
    return f"F.cross_entropy({logits}, {targets}{options})"


def _cross_entropy_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    return (Tensor(inputs[0].shape), "targets", Tensor(()))


CROSS_ENTROPY = Op(
    "cross_entropy",
    "Mean of -log softmax(logits)[target] over the targets that are not ignored.",
    ("logits", "targets"),
    _cross_entropy,
    _emit_cross_entropy,
    (
        Attribute("ignore", "int", "the target that does not count", -100),
        Attribute("label_smoothing", "float", "share of the target spread over all classes", 0.0),
    ),
    saved=_cross_entropy_saved,
    imports=("F",),
    category="loss",
)
