"""Number formats: how values of each kind are stored, and the size of an element."""

from __future__ import annotations

from typing import Final

STORED: Final = {"int": "int64", "bool": "bool", "float": "fp32"}
WIDTH: Final = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int64": 8, "bool": 1}
"""Bytes of one element."""
LOW: Final = frozenset({"linear", "conv2d", "matmul", "scaled_dot_product_attention", "expert_linear"})
"""Ops that autocast runs in the low precision: https://docs.pytorch.org/docs/stable/amp.html."""
