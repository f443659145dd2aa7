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
    deterministic: bool = setting("Only algorithms that give the same bits on each run.", default=False)
