"""How long and in what portions training runs."""

from __future__ import annotations

from typing import Literal

from ..values import AUTO
from .base import Auto, Epochs, Interval, Record, Steps, Tokens, needed, record, setting


@record
class Every(Record):
    """Again and again at an interval."""

    kind = "every"
    interval: Interval = needed("The interval.", above=0)
    batches: int | None = setting(
        "Micro-batches per evaluation; all of the validation data where `none`.", default=None, least=1
    )


@record
class Skip(Record):
    """Leaves such a step out: its samples are consumed, weights and optimizer stay as they are."""

    kind = "skip"
    deviations: float | None = setting(
        "Standard deviations above the median that are a spike; values that are not finite alone where `none`.",
        default=6.0,
        above=0,
    )
    window: int = setting("Steps that median and deviation are taken of.", default=128, least=4, most=10_000)
    most: int = setting("Such steps in a row, after which the run stops.", default=10, least=1)


@record
class RollBack(Record):
    """Goes back to the newest checkpoint, and on from there."""

    kind = "roll_back"
    then: Literal["skip", "retry"] = setting(
        "Goes on with the samples that follow, or with the same ones again.", default="skip"
    )
    deviations: float | None = setting(
        "Standard deviations above the median that are a spike; values that are not finite alone where `none`.",
        default=6.0,
        above=0,
    )
    window: int = setting("Steps that median and deviation are taken of.", default=128, least=4, most=10_000)
    most: int = setting("Times at one step, after which the run stops.", default=3, least=1)


@record
class Training(Record):
    """How long training runs. One of `steps`, `epochs` and `tokens` says the length."""

    steps: Steps | None = setting("Length in optimizer steps.", default=None, least=1, most=2**53)
    epochs: Epochs | None = setting("Length in passes over the training data.", default=None, least=1, most=2**31)
    tokens: Tokens | None = setting("Length in tokens seen.", default=None, least=1, most=2**63)
    micro_batch_size: int = setting("Samples per forward pass and rank.", default=8, least=1, most=2**31)
    gradient_accumulation: int = setting("Forward passes per optimizer step.", default=1, least=1, most=2**31)
    seed: int = setting("Seed of start values, split, order and dropout.", default=0, least=0, most=2**63 - 1)
    evaluate: Every | None = setting("When to evaluate besides the end.", default=None)
    execution: Literal["eager", "compiled", "cuda_graph"] | Auto = setting(
        "How the step runs; `auto` is `compiled` where a compiler for the machine is present, otherwise `eager`.",
        default=AUTO,
        compiled=("eager", "compiled", "auto"),
    )
    kernels: Literal["generated", "library"] | Auto = setting(
        "Who runs what can be fused: Triton kernels written for this model, or PyTorch and its compiler; `auto` takes "
        "what was measured to be faster on `cluster.gpu`, and PyTorch where nothing was measured.",
        default=AUTO,
    )
    loss_guard: Skip | RollBack | None = setting(
        "What becomes of a step whose loss or gradient norm is not finite, or leaps up; "
        "where `none`, the run stops at values that are not finite.",
        default=None,
    )
    deterministic: bool = setting("Only algorithms that give the same bits on each run.", default=False)
