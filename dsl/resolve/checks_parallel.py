"""Whether the axes fill the ranks, and the ranks the nodes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Final

from ..schema.parallel import Interleaved, ZeroBubble
from ..values import AUTO
from .view import View

IDLE: Final = 0.25
"""Share of a step that ranks may wait before it is worth a word: (p - 1) / (v m + p - 1) with even stages."""
_AXES = (
    ("tensor", "tensor_model_parallel"), ("pipeline", "pipeline_depth"),
    ("context", "context_parallel"), ("data", "data_parallel"),
)  # fmt: skip


def _mesh(view: View) -> None:
    """tensor x pipeline x context x data = world_size."""
    world = view.get("parallel.world_size")
    given = [(word, view.get(f"parallel.{name}"), name) for word, name in _AXES]
    sizes = [
        (word, size, name) for word, size, name in given if isinstance(size, int) and (size > 1 or word != "context")
    ]
    known = prod(size for _, size, _ in sizes)
    whole = all(isinstance(size, int) for _, size, _ in given)
    if not isinstance(world, int) or (known == world if whole else world % known == 0):
        return
    shown = " x ".join(f"{word}({size})" for word, size, _ in sizes)
    relation = (
        f"{shown} = {known}, but world_size is {world}"
        if whole
        else f"{shown} = {known} does not divide world_size {world}"
    )
    at = next((f"parallel.{name}" for _, _, name in sizes if view.given(f"parallel.{name}")), "parallel.world_size")
    multiple = known * max(1, round(world / known))
    view.error(
        "E0401", at, relation, f"set `world_size` to a multiple of {known}, such as {multiple}", "parallel.world_size"
    )


def _nodes(view: View) -> None:
    world, per_node, nodes = (view.get(p) for p in ("parallel.world_size", "parallel.gpu_per_node", "cluster.nodes"))
    if not isinstance(world, int) or not isinstance(per_node, int):
        return
    if world % per_node:
        message = f"world_size {world} is not a multiple of gpu_per_node {per_node}"
        view.error("E0402", "parallel.world_size", message, "use whole nodes", "parallel.gpu_per_node")
    elif isinstance(nodes, int) and nodes * per_node != world:
        message = f"nodes({nodes}) x gpu_per_node({per_node}) = {nodes * per_node}, but world_size is {world}"
        view.error("E0402", "cluster.nodes", message, f"set `nodes` to {world // per_node}", "parallel.world_size")


def _experts(view: View) -> None:
    experts, data = view.get("parallel.expert_parallel"), view.get("parallel.data_parallel")
    if isinstance(experts, int) and isinstance(data, int) and data % experts:
        message = f"expert({experts}) does not divide data({data})"
        view.error("E0401", "parallel.expert_parallel", message, "experts are shared among the ranks of the data axis")


def _pipeline(view: View) -> None:
    depth, schedule = view.get("parallel.pipeline_depth"), view.get("parallel.schedule")
    micro = view.get("training.gradient_accumulation")
    if not isinstance(depth, int):
        return
    if view.given("parallel.schedule") and schedule is not AUTO and depth == 1:
        message = "`parallel.schedule` has no effect: the pipeline has 1 stage"
        view.error("E0403", "parallel.schedule", message, "set `pipeline_depth`, or remove it")
    elif isinstance(schedule, Interleaved) and isinstance(micro, int) and micro % depth:
        message = f"{micro} micro-batches do not divide into groups of {depth} stages"
        remedy = f"set `gradient_accumulation` to a multiple of {depth}"
        view.error("E0404", "parallel.schedule", message, remedy, "training.gradient_accumulation")
    elif depth > 1 and isinstance(micro, int) and not isinstance(schedule, ZeroBubble) and not view.run.sink.failed:
        _waiting(view, depth, schedule.chunks if isinstance(schedule, Interleaved) else 1, micro)


def _waiting(view: View, depth: int, chunks: int, micro: int) -> None:
    """Advice where filling and draining the pipeline is a large share of a step."""
    share = (depth - 1) / (chunks * micro + depth - 1)
    if share > IDLE:
        enough = -(-(depth - 1) * (1 / IDLE - 1) // chunks)
        message = f"the ranks of the pipeline wait {share:.0%} of each step: {micro} micro-batches for {depth} ranks"
        remedy = (
            f"set `gradient_accumulation` to {int(-(-enough // depth)) * depth} or more, or `schedule: zero_bubble()`"
        )
        view.advise("W0931", "parallel.pipeline_depth", message, remedy)


def _sequence(view: View) -> None:
    if view.get("parallel.sequence_parallel") and view.get("parallel.tensor_model_parallel") == 1:
        message = "`sequence_parallel` has no effect: the tensor axis has 1 rank"
        view.error("E0403", "parallel.sequence_parallel", message, "set `tensor_model_parallel`, or remove it")


def _shard(view: View) -> None:
    """Advice only: a profile for a smaller machine may leave the data axis one rank."""
    shard = view.get("parallel.shard")
    if view.given("parallel.shard") and shard not in ("none", AUTO) and view.get("parallel.data_parallel") == 1:
        message = f"`shard: {shard}` has no effect: the data axis has 1 rank"
        view.advise("W0922", "parallel.shard", message, "set a larger `world_size`, or remove it")


def _copies(view: View) -> None:
    """Advice only, as for `shard`."""
    world, per_node = (view.get(f"parallel.{name}") for name in ("world_size", "gpu_per_node"))
    if view.get("checkpoint.peer_copy") and isinstance(world, int) and isinstance(per_node, int) and world <= per_node:
        message = f"`peer_copy` has no effect: all {world} ranks are on one node"
        view.advise("W0924", "checkpoint.peer_copy", message.replace("all 1 ranks are", "the one rank is"), "remove it")


PARALLEL_CHECKS: Final[tuple[Callable[[View], None], ...]] = (
    _mesh, _nodes, _experts, _pipeline, _sequence, _shard, _copies,
)  # fmt: skip
