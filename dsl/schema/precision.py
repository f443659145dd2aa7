"""Number formats of computing and keeping."""

from __future__ import annotations

from typing import Literal

from ..values import AUTO
from .base import Auto, Record, Steps, needed, record, setting


@record
class DynamicScale(Record):
    """A loss scale that grows while gradients stay finite and backs off when they do not."""

    kind = "dynamic"
    compiled = False
    initial: float = setting(65_536.0, "Scale at the start.", above=0)
    growth: float = setting(2.0, "Factor of growth.", above=1)
    backoff: float = setting(0.5, "Factor of backing off.", above=0, below=1)
    interval: Steps = setting(2_000, "Finite steps before the scale grows.", least=1)
    hysteresis: int = setting(1, "Steps with a non-finite gradient before the scale backs off.", least=1)


@record
class FixedScale(Record):
    """A loss scale that stays."""

    kind = "fixed"
    compiled = False
    scale: float = needed("The scale.", above=0)


@record
class BlockPrecision(Record):
    """Another format for the blocks whose path matches."""

    kind = "block"
    compiled = False
    path: str = needed("Path of labels, `*` for any: `layers.*.router`.")
    compute: Literal["fp32", "tf32", "bf16", "fp16", "fp8"] = needed("Number format there.")


@record
class Precision(Record):
    """Number formats."""

    compute: Literal["fp32", "tf32", "bf16", "fp16", "fp8"] = setting(
        "fp32", "Format of matrix products.", compiled=("fp32", "tf32", "bf16")
    )
    master: Literal["fp32"] | None = setting(
        "fp32",
        "Format that the optimizer keeps parameters in; `none` keeps them in that of `compute`.",
        compiled=("fp32",),
    )
    loss_scale: DynamicScale | FixedScale | Auto | None = setting(
        AUTO, "Factor of the loss against underflow; `auto` is `dynamic` for fp16 and `none` otherwise."
    )
    overrides: tuple[BlockPrecision, ...] = setting((), "Blocks in another format.")
    numeric_debug: bool = setting(
        False, "Names the first op that makes a non-finite value by its spec line.", compiled=False
    )
