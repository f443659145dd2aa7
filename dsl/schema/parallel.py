"""How the model and the batch are laid over ranks."""

from __future__ import annotations

from typing import Literal

from ..values import AUTO
from .base import Auto, Record, needed, record, setting


@record
class Interleaved(Record):
    """1F1B with several chunks of the model on each stage."""

    kind = "interleaved"
    chunks: int = needed("Chunks per stage.", least=2)


@record
class ZeroBubble(Record):
    """1F1B that fills its bubble with the gradients of parameters."""

    kind = "zero_bubble"
    chunks: int = setting("Chunks per stage.", default=1, least=1)


@record
class Parallel(Record):
    """Ranks and axes. With `auto` the planner searches and explains."""

    world_size: int = setting("Number of ranks.", default=1, least=1)
    elastic: tuple[int, ...] | None = setting(
        "World sizes that the run may go on with when machines are lost: `[256, 192]`.", default=None, least=1
    )
    gpu_per_node: int | Auto = setting(
        "Ranks per node; `auto` is as many as there are, at most 8.", default=AUTO, least=1
    )
    pipeline_depth: int | Auto = setting("Stages of the pipeline.", default=1, least=1)
    tensor_model_parallel: int | Auto = setting("Ranks that share each matrix.", default=1, least=1)
    data_parallel: int | Auto = setting(
        "Ranks that share the batch; `auto` is what the other axes leave.", default=AUTO, least=1
    )
    expert_parallel: int | Auto = setting(
        "Ranks of the data axis that share the experts: neighbours, each with its own.", default=1, least=1
    )
    context_parallel: int | Auto = setting("Ranks that share each sequence.", default=1, least=1, compiled=False)
    sequence_parallel: bool = setting("Shards norms and residuals by sequence on the tensor axis.", default=False)
    shard: Literal["none", "optimizer", "gradients", "parameters"] | Auto = setting(
        "What the data axis shards; each includes those before it.", default="none"
    )
    schedule: Literal["one_f_one_b", "gpipe"] | Interleaved | ZeroBubble | Auto = setting(
        "Order of micro-batches in the pipeline.", default="one_f_one_b"
    )
