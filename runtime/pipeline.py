"""A model cut into stages on the ranks of the pipeline, and the schedule that brings micro-batches through them.

    EDGES = ((pipeline.Edge((8, 256, 512)),),)      # what crosses from each stage to the next
    STAGES = (partial(FirstStage, range(3)), partial(LastStage, range(3, 6)))

    stages = pipeline.build(STAGES, "one_f_one_b", LAYOUT)      # this rank's, as modules
    ... start values, data parallelism, optimizer over `stages` ...
    running = pipeline.Pipeline(stages, EDGES, "one_f_one_b", ACCUMULATION, LAYOUT, place, ("loss",))
    loss = running.step(batches)

A stage's `forward` takes what it receives first, then the fields of the batch that it needs, by their names. It returns
what it sends, a tensor or a tuple of them; the last stage returns its objectives by name. The loss of a step is the
mean of "loss" over its micro-batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleZBVZeroBubble,
)
from torch.distributed.pipelining.schedules import PipelineScheduleMulti, PipelineScheduleSingle

from .errors import RunError
from .layout import Layout, local
from .mesh import Axis

Schedule = Literal["gpipe", "one_f_one_b", "interleaved", "zero_bubble", "zero_bubble_v"]
SINGLE: Final = {"gpipe": ScheduleGPipe, "one_f_one_b": Schedule1F1B}
SEVERAL: Final = {
    "interleaved": ScheduleInterleaved1F1B,
    "zero_bubble": ScheduleInterleavedZeroBubble,
    "zero_bubble_v": ScheduleZBVZeroBubble,
}


@dataclass(frozen=True)
class Edge:
    """A tensor that goes from one stage to the next: its shape on this rank, and whether a gradient comes back."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    gradient: bool = True

    def __post_init__(self) -> None:
        if 0 in self.shape:
            raise RunError(f"a tensor {list(self.shape)} without elements cannot cross from one stage to the next")


Edges = Sequence[Sequence[Edge]]
"""For each stage but the last, what it sends to the next."""


def indices(stages: int, schedule: Schedule, axis: Axis) -> tuple[int, ...]:
    """Numbers of the stages on this rank: round and round over the ranks, or there and back for "zero_bubble_v"."""
    if stages % axis.size or (schedule in SINGLE and stages != axis.size):
        raise RunError(f"{stages} stages cannot run as {schedule} on {axis.size} ranks")
    turns = range(stages // axis.size)
    back = schedule == "zero_bubble_v"
    return tuple(t * axis.size + (axis.size - 1 - axis.index if back and t % 2 else axis.index) for t in turns)


def build(stages: Sequence[Callable[[], nn.Module]], schedule: Schedule, layout: Layout) -> list[nn.Module]:
    """This rank's stages, in their order; parameters of one name are one parameter."""
    built = [stages[i]() for i in indices(len(stages), schedule, layout.mesh.axis("pipeline"))]
    known: dict[str, nn.Parameter] = {}
    for stage in built:
        for name, parameter in list(stage.named_parameters(remove_duplicate=False)):
            first = known.setdefault(name, parameter)
            for owner, key in _places(stage, parameter) if first is not parameter else ():
                setattr(owner, key, first)
    return built


def _places(stage: nn.Module, parameter: nn.Parameter) -> list[tuple[nn.Module, str]]:
    return [(m, key) for m in stage.modules() for key, found in m._parameters.items() if found is parameter]


def iterations(stages: Sequence[nn.Module], *paths: str) -> list[nn.Module]:
    """The modules in the dicts of these paths, of the stages that have them."""
    found = []
    for stage in stages:
        named = dict(stage.named_modules())
        found += [unit for path in paths if path in named for unit in named[path].children()]
    return found


class Pipeline:
    """The stages of this rank with their schedule.

    `objectives` are the names of what the last stage returns. `autocast` is the dtype of `torch.autocast` in forward;
    edges have the dtypes that the stages then compute.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        edges: Edges,
        schedule: Schedule,
        micro_batches: int,
        layout: Layout,
        place: torch.device,
        objectives: Sequence[str],
        autocast: torch.dtype | None = None,
    ) -> None:
        self._axis = layout.mesh.axis("pipeline")
        self._layout, self._place, self._objectives, self._edges = layout, place, tuple(objectives), edges
        self._micro_batches = micro_batches
        count = len(edges) + 1
        own = indices(count, schedule, self._axis)
        self.stages = list(stages)
        self._stages = [
            _Stage(module, index, edges, place, self._axis.group, autocast)
            for index, module in zip(own, stages, strict=True)
        ]
        self._last = count - 1 in own
        self._rank_of = _ranks(count, schedule, self._axis.size)
        self._inputs = {name for stage in self._stages for name in stage.inputs}
        self._schedule: PipelineScheduleSingle | PipelineScheduleMulti
        if schedule in SINGLE:
            self._schedule = SINGLE[schedule](self._stages[0], micro_batches, _own_loss, scale_grads=False)
        else:
            several: list[Any] = list(self._stages)
            self._schedule = SEVERAL[schedule](several, micro_batches, _own_loss, scale_grads=False)

    def step(self, batches: Sequence[Mapping[str, Tensor]], **common: Tensor) -> Tensor:
        """Forward and backward of the micro-batches of a step; this rank's share of its loss.

        `common` are further fields, with one dimension or more, which are the same for every micro-batch.

        The share is the loss where the last stage is, and 0 elsewhere: see `totals.over_stages`. Afterwards every
        parameter has its gradient, from all micro-batches and all stages that hold it; the data axis is left to the
        caller.
        """
        if len(batches) != self._micro_batches:
            raise RunError(f"the schedule is made for {self._micro_batches} micro-batches, but got {len(batches)}")
        fields: dict[str, Any] = {
            name: torch.cat([batch[name] for batch in batches]) for name in batches[0] if name in self._inputs
        }
        known = {name: value for name, value in common.items() if name in self._inputs}
        fields |= {name: torch.cat([value] * len(batches)) for name, value in known.items()}
        losses: list[Tensor] = []
        target = torch.zeros(self._micro_batches, device=self._place) if self._last else None
        self._schedule.step(target=target, losses=losses, return_outputs=False, **fields)
        self._sum_copies()
        return torch.stack(losses).sum() if losses else torch.zeros((), device=self._place)

    @torch.no_grad()
    def objectives(self, **batch: Tensor) -> dict[str, Tensor]:
        """The objectives of one batch of any size, forward only; zeros on the ranks that the last stage is not on."""
        values: Any = None
        for stage in self._stages:
            index = stage.stage_index
            received = self._receive(index, values)
            fields = {name: batch[name] for name in stage.inputs if name in batch}
            values = stage.run(received, fields)
            if index < len(self._edges):
                self._send(index, values)
        if self._last:
            return {name: values[name].float() for name in self._objectives}
        return {name: torch.zeros((), device=self._place) for name in self._objectives}

    def _send(self, index: int, values: tuple[Tensor, ...]) -> None:
        """To the next stage, unless it is here; the shape first, since a last batch may be smaller."""
        to = self._rank_of[index + 1]
        for value in values if to != self._axis.index else ():
            if value.ndim:
                shape = torch.tensor(value.shape, device=self._place)
                dist.send(shape, group=self._axis.group, group_dst=to)
            dist.send(value, group=self._axis.group, group_dst=to)

    def _receive(self, index: int, here: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if index == 0:
            return ()
        source = self._rank_of[index - 1]
        if source == self._axis.index:
            return here
        received = []
        for edge in self._edges[index - 1]:
            shape = torch.zeros(len(edge.shape), dtype=torch.int64, device=self._place)
            if edge.shape:
                dist.recv(shape, group=self._axis.group, group_src=source)
            value = torch.empty(shape.tolist(), dtype=edge.dtype, device=self._place)
            dist.recv(value, group=self._axis.group, group_src=source)
            received.append(value)
        return tuple(received)

    @torch.no_grad()
    def _sum_copies(self) -> None:
        """Adds up the gradients of parameters that several ranks hold: each sends its own to all others.

        Summed in the order of the ranks, so that all copies get the same bits. Moves bytes * (holders - 1) per rank.
        """
        mine = {name: p for stage in self._stages for name, p in stage.submod.named_parameters()}
        for name, ranks in self._layout.tied.items():
            others = [rank for rank in dict.fromkeys(ranks) if rank != self._axis.index]
            if name not in mine or not others:
                continue
            parameter = mine[name]
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            own = local(parameter.grad).contiguous()
            parts = {rank: torch.empty_like(own) for rank in others} | {self._axis.index: own.clone()}
            group = self._axis.group
            moves = [dist.P2POp(dist.isend, own, group=group, group_peer=rank) for rank in others]
            moves += [dist.P2POp(dist.irecv, parts[rank], group=group, group_peer=rank) for rank in others]
            for work in dist.batch_isend_irecv(moves):
                work.wait()
            total = torch.zeros_like(own)
            for rank in sorted(parts):
                total += parts[rank]
            local(parameter.grad).copy_(total)


def _ranks(stages: int, schedule: Schedule, size: int) -> tuple[int, ...]:
    """The pipeline rank of each stage."""
    back = schedule == "zero_bubble_v"
    return tuple(size - 1 - s % size if back and s // size % 2 else s % size for s in range(stages))


def _own_loss(output: Tensor, _target: Tensor) -> Tensor:
    """The last stage has computed the loss itself."""
    return output


class _Stage(PipelineStage):
    """A stage for torch's schedules: picks its inputs, computes in the right precision, checks what it sends."""

    def __init__(
        self,
        module: nn.Module,
        index: int,
        edges: Edges,
        place: torch.device,
        group: dist.ProcessGroup,
        autocast: torch.dtype | None,
    ) -> None:
        self._receives = edges[index - 1] if index else ()
        self._sends = edges[index] if index < len(edges) else ()
        self._autocast = autocast
        names = list(inspect.signature(module.forward).parameters)
        self.inputs = tuple(names[len(self._receives) :])
        super().__init__(
            module,
            index,
            len(edges) + 1,
            place,
            input_args=_examples(self._receives),
            output_args=_examples(self._sends or (Edge(()),)),
            group=group,
        )

    def forward_maybe_with_nosync(self, *received: Tensor, **fields: Tensor) -> Any:
        """What torch's schedules call for each micro-batch."""
        fields = {name: field for name, field in fields.items() if name in self.inputs}
        values = self.run(received, fields)
        if not self._sends:
            values = (values["loss"] / self.chunks,)
        values = _joined(values, received)
        return values if self._sends else values[0]

    def backward_maybe_with_nosync(
        self, backward_type: str, bwd_kwargs: dict[str, Any], last_backward: bool = False
    ) -> tuple[Any, Any]:
        """As torch does it, but for the gradients of parameters alone: see `_weights`."""
        if backward_type != "weight":
            return super().backward_maybe_with_nosync(backward_type, bwd_kwargs, last_backward)
        if isinstance(self.submod, FSDPModule):
            self.submod.set_is_last_backward(False)
            self.submod.set_reshard_after_backward(False)
            self.submod.set_requires_gradient_sync(False)
        _weights(bwd_kwargs["param_groups"])
        return (), None

    def run(self, received: tuple[Tensor, ...], fields: Mapping[str, Tensor]) -> Any:
        """Forward of the module; a tuple that matches the edges, or the objectives of the last stage."""
        with self._precision():
            values = self.submod(*received, **fields)
        if not self._sends:
            return values
        values = values if isinstance(values, tuple) else (values,)
        for number, (value, edge) in enumerate(zip(values, self._sends, strict=True)):
            if value.dtype != edge.dtype or value.shape[1:] != edge.shape[1:]:
                raise RunError(
                    f"stage {self.stage_index} makes {_shown(value.shape, value.dtype)} as value {number}, but "
                    f"{_shown(edge.shape, edge.dtype)} is what stage {self.stage_index + 1} expects"
                )
        return tuple(value.contiguous() for value in values)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self._autocast) if self._autocast else nullcontext()


def _weights(groups: Sequence[Mapping[str, Any]]) -> None:
    """The second half of backward: gradients of parameters, from those at the nodes where they meet the inputs' way.

    Torch's own half takes the groups one by one. A parameter that is used at several places is in several of them, and
    would be counted twice or meet a graph that is gone; here groups with a node or a parameter in common are one.
    """
    for nodes, parameters in _disjoint(groups):
        edges = [GradientEdge(node, i) for node, saved in nodes.items() for i, g in enumerate(saved) if g is not None]
        gradients = [gradient for saved in nodes.values() for gradient in saved if gradient is not None]
        # What reaches a node from another one of the group is in its saved gradient already.
        hooks = [node.register_prehook(lambda _, saved=saved: saved) for node, saved in nodes.items()]
        try:
            ends = [GradientEdge(each, 0) for each in parameters]
            found = torch.autograd.grad(edges, ends, gradients, retain_graph=True, allow_unused=True)
        finally:
            for hook in hooks:
                hook.remove()
        for each, gradient in zip(parameters, found, strict=True):
            parameter = each.variable  # type: ignore[attr-defined]
            if gradient is not None:
                if parameter.grad is None and gradient.stride() == parameter.stride():
                    parameter.grad = gradient
                else:  # in memory as the parameter is: fused optimizers go through both side by side
                    before = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    parameter.grad = before.add_(gradient)


def _disjoint(groups: Sequence[Mapping[str, Any]]) -> list[tuple[dict[Node, Any], list[Node]]]:
    """Nodes with their gradients, and the parameters that they lead to; groups with anything in common as one."""
    merged: list[tuple[dict[Node, Any], dict[Node, None]]] = []
    for group in groups:
        if not group.get("grads"):
            continue
        nodes = {n: g for n, g in zip(group["intermediates"], group["grads"], strict=True) if g is not None}
        parameters = dict.fromkeys(group["params"])
        apart = []
        for other in merged:
            if nodes.keys() & other[0].keys() or parameters.keys() & other[1].keys():
                nodes, parameters = other[0] | nodes, other[1] | parameters
            else:
                apart.append(other)
        merged = [*apart, (nodes, parameters)]
    return [(nodes, list(parameters)) for nodes, parameters in merged]


def _shown(shape: Iterable[int], dtype: torch.dtype) -> str:
    return f"{list(shape)} {str(dtype).removeprefix('torch.')}"


def _examples(edges: Sequence[Edge]) -> tuple[Tensor, ...]:
    """What torch reads shapes, dtypes and `requires_grad` from."""
    return tuple(torch.empty(e.shape, dtype=e.dtype, device="meta", requires_grad=e.gradient) for e in edges)


def _joined(values: tuple[Tensor, ...], received: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same values, each of them by one last node that depends on all that was received.

    Zero bubble splits backward where paths from parameters meet those from received values; a parameter whose path
    meets none, such as an embedding that starts another tower, would get no gradient. They meet here. The values are
    also no views, which torch needs to let go of a graph in place.
    """
    moving = [i for i, value in enumerate(values) if value.requires_grad]
    if not moving:
        return values
    sources = [value for value in received if value.requires_grad]
    made = _Join.apply(len(moving), *(values[i] for i in moving), *sources)  # type: ignore[no-untyped-call]
    kept = dict(zip(moving, made, strict=True))
    return tuple(kept.get(i, value) for i, value in enumerate(values))


class _Join(torch.autograd.Function):
    """The first `count` tensors, unchanged; the gradient of the others is none."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.others = len(tensors) - count
        return tuple(tensor.detach() for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradients, *[None] * ctx.others
