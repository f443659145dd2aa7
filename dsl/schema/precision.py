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
    initial: float = setting("Scale at the start.", default=65_536.0, above=0)
    growth: float = setting("Factor of growth.", default=2.0, above=1)
    backoff: float = setting("Factor of backing off.", default=0.5, above=0, below=1)
    interval: Steps = setting("Finite steps before the scale grows.", default=2_000, least=1)
    hysteresis: int = setting("Steps with a non-finite gradient before the scale backs off.", default=1, least=1)


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
        "Format of matrix products.", default="fp32", compiled=("fp32", "tf32", "bf16")
    )
    master: Literal["fp32"] | None = setting(
        "Format that the optimizer keeps parameters in; `none` keeps them in that of `compute`.",
        default="fp32",
        compiled=("fp32",),
    )
    loss_scale: DynamicScale | FixedScale | Auto | None = setting(
        "Factor of the loss against underflow; `auto` is `dynamic` for fp16 and `none` otherwise.", default=AUTO
    )
    overrides: tuple[BlockPrecision, ...] = setting("Blocks in another format.", default=())
    numeric_debug: bool = setting(
        "Names the first op that makes a non-finite value by its spec line.", default=False, compiled=False
    )
