"""The layout of a run: sizes of the axes of the mesh, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from ..dsl.schema.parallel import Interleaved, ZeroBubble
from ..dsl.spec import Spec
from ..dsl.values import AUTO


@dataclass(frozen=True)
class Layout:
    """Sizes of the axes. Rank = (pipeline * data + data_index) * tensor + tensor_index: the tensor axis is innermost.

    `shard` is what the data axis shards ("none", "optimizer", "gradients", "parameters": ZeRO 0 to 3); `schedule` one
    of "one_f_one_b", "gpipe", "interleaved", "zero_bubble"; `chunks` the stages of the pipeline on each rank;
    `expert` is the inner part of the data axis: data_index = replica_index * expert + expert_index.
    """

    data: int = 1
    pipeline: int = 1
    tensor: int = 1
    expert: int = 1
    shard: str = "none"
    schedule: str = "one_f_one_b"
    chunks: int = 1
    sequence_parallel: bool = False
    gpu_per_node: int = 1

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self.data * self.pipeline * self.tensor

    @property
    def replicas(self) -> int:
        """Ranks of the data axis that hold the same experts."""
        return self.data // self.expert

    @property
    def stages(self) -> int:
        """Parts that the model is cut into."""
        return self.pipeline * self.chunks

    @property
    def schedule_text(self) -> str:
        """The schedule as a spec writes it."""
        if self.schedule == "interleaved" or (self.schedule == "zero_bubble" and self.chunks > 1):
            return f"{self.schedule}({self.chunks})"
        return f"{self.schedule}()" if self.schedule == "zero_bubble" else self.schedule


def layout_of(spec: Spec) -> Layout:
    """The layout that a spec asks for; every axis is a number by then."""
    asked = spec.parallel
    schedule = asked.schedule
    named = schedule.kind if isinstance(schedule, Interleaved | ZeroBubble) else str(schedule)
    named = Layout.schedule if schedule is AUTO and asked.pipeline_depth == 1 else named
    chunks = schedule.chunks if isinstance(schedule, Interleaved | ZeroBubble) else 1
    return Layout(
        data=_number(asked.data_parallel),
        pipeline=_number(asked.pipeline_depth),
        tensor=_number(asked.tensor_model_parallel),
        expert=_number(asked.expert_parallel),
        shard=str(asked.shard),
        schedule=named,
        chunks=chunks,
        sequence_parallel=asked.sequence_parallel,
        gpu_per_node=_number(asked.gpu_per_node),
    )


def _number(value: object) -> int:
    assert isinstance(value, int), "the planner fills every `auto` before a layout is made"
    return value
