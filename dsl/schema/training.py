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
        None, "Micro-batches per evaluation; all of the validation data where `none`.", least=1
    )


@record
class Training(Record):
    """How long training runs. One of `steps`, `epochs` and `tokens` says the length."""

    steps: Steps | None = setting(None, "Length in optimizer steps.", least=1, most=2**53)
    epochs: Epochs | None = setting(None, "Length in passes over the training data.", least=1, most=2**31)
    tokens: Tokens | None = setting(None, "Length in tokens seen.", least=1, most=2**63)
    micro_batch_size: int = setting(8, "Samples per forward pass and rank.", least=1, most=2**31)
    gradient_accumulation: int = setting(1, "Forward passes per optimizer step.", least=1, most=2**31)
    seed: int = setting(0, "Seed of start values, split, order and dropout.", least=0, most=2**63 - 1)
    evaluate: Every | None = setting(None, "When to evaluate besides the end.")
    execution: Literal["eager", "compiled", "cuda_graph"] | Auto = setting(
        AUTO,
        "How the step runs; `auto` is `compiled` where a compiler for the machine is present, otherwise `eager`.",
        compiled=("eager", "compiled", "auto"),
    )
    deterministic: bool = setting(False, "Only algorithms that give the same bits on each run.")
