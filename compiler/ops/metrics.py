"""Metrics: numbers to watch, not differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..node import Tensor
from .base import Inferred, Op
from .common import operand
from .losses import check_classes


def _accuracy(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    check_classes(inputs)
    return Inferred((Tensor(()),))


ACCURACY = Op(
    "accuracy",
    "Share of rows whose largest logit is the target's.",
    ("logits", "targets"),
    _accuracy,
    lambda node, inputs, args, callee: (
        f"({operand(args['logits'])}.argmax(-1) == {operand(args['targets'])}).float().mean()"
    ),
    category="metric",
)
