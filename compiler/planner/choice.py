"""One layout of a search: what the spec's own settings would be for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...dsl.schema.base import Record
from ...dsl.schema.memory import Memory
from ...dsl.schema.parallel import Interleaved, Parallel, ZeroBubble
from ...dsl.schema.training import Training
from ...dsl.spec import Spec
from ..layout import Layout


@dataclass(frozen=True)
class Choice:
    """A layout with the portions of its batch and what it recomputes ("off", "selective", "sqrt", "full", or "given":
    as the spec says)."""

    layout: Layout
    micro_batch: int
    accumulation: int
    checkpointing: str = "given"

    @property
    def key(self) -> tuple[Any, ...]:
        """An order that does not depend on times: among equals the simpler layout is first."""
        it = self.layout
        ways = ("off", "selective", "sqrt", "full", "given")
        shards = ("none", "optimizer", "gradients", "parameters")
        return (
            it.pipeline, it.tensor, shards.index(it.shard), it.chunks, it.schedule, it.sequence_parallel,
            ways.index(self.checkpointing), self.accumulation,
        )  # fmt: skip


def changed(record: Record, **values: object) -> Any:
    """A record of settings with some of them changed."""
    return type(record)(**(vars(record) | values))


def spec_of(spec: Spec, choice: Choice) -> Spec:
    """The spec with a choice filled in."""
    layout = choice.layout
    parallel: Parallel = changed(
        spec.parallel, world_size=layout.world, pipeline_depth=layout.pipeline, tensor_model_parallel=layout.tensor,
        data_parallel=layout.data, sequence_parallel=layout.sequence_parallel, shard=layout.shard,
        schedule=schedule_of(layout), gpu_per_node=layout.gpu_per_node, expert_parallel=layout.expert,
        context_parallel=1,
    )  # fmt: skip
    training: Training = changed(
        spec.training, micro_batch_size=choice.micro_batch, gradient_accumulation=choice.accumulation
    )
    memory: Memory = spec.memory
    if choice.checkpointing != "given":
        memory = changed(spec.memory, checkpointing=choice.checkpointing)
    return replace(spec, parallel=parallel, training=training, memory=memory)


def expert_of(spec: Spec) -> int:
    """Ranks that share the experts; the search leaves them as they are."""
    return spec.parallel.expert_parallel if isinstance(spec.parallel.expert_parallel, int) else 1


def schedule_of(layout: Layout) -> str | Interleaved | ZeroBubble:
    """The value of `parallel.schedule`."""
    if layout.schedule == "interleaved":
        return Interleaved(chunks=layout.chunks)
    return ZeroBubble(chunks=layout.chunks) if layout.schedule == "zero_bubble" else layout.schedule


def settings(choice: Choice) -> dict[str, str]:
    """Path and value of each setting that makes a spec this choice."""
    layout = choice.layout
    found = {
        "parallel.world_size": str(layout.world),
        "parallel.data_parallel": str(layout.data),
        "parallel.pipeline_depth": str(layout.pipeline),
        "parallel.tensor_model_parallel": str(layout.tensor),
        "parallel.shard": layout.shard,
        "training.micro_batch_size": str(choice.micro_batch),
        "training.gradient_accumulation": str(choice.accumulation),
    }
    if layout.tensor > 1:
        found["parallel.sequence_parallel"] = str(layout.sequence_parallel).lower()
    if layout.pipeline > 1:
        found["parallel.schedule"] = layout.schedule_text
    if choice.checkpointing != "given":
        found["memory.checkpointing"] = choice.checkpointing
    return dict(sorted(found.items()))


def sections(choice: Choice) -> str:
    """The settings as sections of a spec."""
    grouped: dict[str, list[str]] = {}
    for path, value in settings(choice).items():
        section, name = path.split(".")
        grouped.setdefault(section, []).append(f"{name}: {value}")
    return "\n".join(f"{section} {{ {', '.join(values)} }}" for section, values in grouped.items())
