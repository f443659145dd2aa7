"""Metrics: numbers to watch, not differentiated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..node import Node, Tensor
from .base import Attribute, Inferred, Op, ShapeError
from .common import keywords, whole
from .losses import IGNORE, check_classes


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    check_classes(inputs)
    whole(attrs, "ignore", -(2**62))
    classes = inputs["logits"].shape[-1]
    if "top" in attrs and isinstance(classes, int) and whole(attrs, "top") > classes:
        raise ShapeError(f"`top` is {attrs['top']}, but there are {classes} classes", None, "top")
    return Inferred((Tensor(()),))


def _emit(name: str) -> Any:
    def emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
        ignore = None if node.attrs["ignore"] == -100 else node.attrs["ignore"]
        options = keywords(top=node.attrs.get("top"), ignore=ignore)
        return f"layers.{name}({args['logits']}, {args['targets']}{options})"

    return emit


def _metric(name: str, doc: str, function: str, *attributes: Attribute) -> Op:
    attributes = (*attributes, IGNORE)
    arguments = ("logits", "targets")
    return Op(name, doc, arguments, _infer, _emit(function), attributes, imports=("layers",), category="metric")


METRICS = (
    _metric("accuracy", "Share of rows whose largest logit is the target's.", "accuracy"),
    _metric(
        "top_accuracy",
        "Share of rows whose target is among the `top` largest logits.",
        "accuracy",
        Attribute("top", "int", "how many logits", 5),
    ),
    _metric("perplexity", "e to the power of the mean cross entropy of the batch.", "perplexity"),
)
