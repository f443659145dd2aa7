"""Data parallelism with whole parameters on every rank: gradients are added up over the data axis once a step.

    gradients = replicated.Replicated(model, layout)
    for part in range(ACCUMULATION):
        gradients.micro_batch(last=part == ACCUMULATION - 1)
        ... backward ...
    gradients.finish()

Gradients are sums, not means: the loss of a step is divided by a number that all ranks share (see `totals.counted`).

Traffic of a step: one all-reduce over the data axis for each bucket. A bucket holds gradients of one dtype, from the
last parameter of the model to the first, until they have `bucket` bytes or more; its bytes are those of its gradients.
So all buckets together move sum(elements * bytes per element) over the parameters that get a gradient. Once per run,
in the first step, 4 bytes per parameter tell which these are.
With `summed` parameters: one more all-reduce of their gradients over the tensor axis.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import RunError
from .layout import Layout, Model, local, named_parameters
from .mesh import Axis

BUCKET = 25 << 20  # bytes: large enough for full bandwidth, small enough to begin early
IN_FLIGHT = 4  # buckets at a time, each of which holds a copy of its gradients


@dataclass
class _Bucket:
    axis: Axis  # the ranks that hold copies of its parameters
    parameters: list[tuple[str, nn.Parameter]]
    waiting: set[int] = field(default_factory=set)  # parameters whose gradient is not complete

    @property
    def bytes(self) -> int:
        return sum(parameter.numel() * parameter.element_size() for _, parameter in self.parameters)


class Replicated:
    """Adds up the gradients of `model` over the data axis, the first of them while the last are still computed."""

    def __init__(
        self, model: Model, layout: Layout, bucket: int = BUCKET, only: Iterable[Tensor] | None = None
    ) -> None:
        """`only`: the parameters to take care of, where not all."""
        chosen = None if only is None else {id(parameter) for parameter in only}
        self._model, self._layout = model, layout
        self._axis = layout.mesh.axis("data")
        self._named = [
            (name, parameter)
            for name, parameter in named_parameters(model)
            if parameter.requires_grad and (chosen is None or id(parameter) in chosen) and layout.copies(name).size > 1
        ][::-1]  # backward reaches the last ones first
        self._size = bucket
        self._buckets: list[_Bucket] | None = None  # not known before the first step
        self._where: dict[int, _Bucket] = {}
        self._next = 0  # buckets are sent in their order, which is the same on all ranks
        self._flight: deque[tuple[_Bucket, Tensor, dist.Work]] = deque()
        self._last = False

    def micro_batch(self, last: bool) -> None:
        """Before the forward of each micro-batch: in backward of the `last` one gradients are sent when complete."""
        if self._axis.size == 1 or self._buckets is None:
            return
        self._last = last
        if last:
            for bucket in self._buckets:
                bucket.waiting = {id(parameter) for _, parameter in bucket.parameters}

    def finish(self) -> None:
        """After the last backward: every gradient is the sum over the data axis, and over the tensor axis as due."""
        if self._axis.size > 1 and self._named:
            if self._buckets is None:
                self._buckets = self._plan()
            self._refuse_new()
            while self._next < len(self._buckets):
                self._send()
            while self._flight:
                self._receive()
            self._next, self._last = 0, False
        sum_over_tensor(self._model, self._layout)

    def _plan(self) -> list[_Bucket]:
        """Buckets of the parameters that have a gradient on any rank."""
        device = self._named[0][1].device
        has = torch.tensor([parameter.grad is not None for _, parameter in self._named], dtype=torch.int32)
        has = has.to(device)
        dist.all_reduce(has, group=self._axis.group)
        buckets: list[_Bucket] = []
        filling: dict[tuple[torch.dtype, Axis], _Bucket] = {}
        for (name, parameter), used in zip(self._named, has.tolist(), strict=True):
            if not used:
                continue
            axis = self._layout.copies(name)
            bucket = filling.get((parameter.dtype, axis))
            if bucket is None or bucket.bytes >= self._size:
                bucket = filling[parameter.dtype, axis] = _Bucket(axis, [])
                buckets.append(bucket)
            bucket.parameters.append((name, parameter))
            self._where[id(parameter)] = bucket
            parameter.register_post_accumulate_grad_hook(self._ready)  # type: ignore[no-untyped-call]
        return buckets

    def _refuse_new(self) -> None:
        new = [name for name, p in self._named if p.grad is not None and id(p) not in self._where]
        if new:
            raise RunError(
                f"{', '.join(new)} got a gradient in this step, but on no rank in the first one, "
                "when the ranks agreed on what they add up"
            )

    def _ready(self, parameter: Tensor) -> None:
        if not self._last or self._buckets is None:
            return
        self._where[id(parameter)].waiting.discard(id(parameter))
        while self._next < len(self._buckets) and not self._buckets[self._next].waiting:
            self._send()

    def _send(self) -> None:
        assert self._buckets is not None
        if len(self._flight) == IN_FLIGHT:
            self._receive()
        bucket = self._buckets[self._next]
        self._next += 1
        flat = torch.cat([_gradient(parameter).flatten() for _, parameter in bucket.parameters])
        work = dist.all_reduce(flat, group=bucket.axis.group, async_op=True)
        assert work is not None
        self._flight.append((bucket, flat, work))

    def _receive(self) -> None:
        bucket, flat, work = self._flight.popleft()
        work.wait()
        _write_back([_gradient(parameter) for _, parameter in bucket.parameters], flat)


@torch.no_grad()
def _gradient(parameter: Tensor) -> Tensor:
    """The gradient; zeros where this rank has none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _write_back(gradients: list[Tensor], flat: Tensor) -> None:
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    shaped = [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
    torch._foreach_copy_(gradients, shaped)


@torch.no_grad()
def sum_over_tensor(model: Model, layout: Layout) -> None:
    """Adds up the gradients of the layout's `summed` parameters over the tensor axis, in one all-reduce per dtype."""
    axis = layout.mesh.axis("tensor")
    if axis.size == 1:
        return
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for name, parameter in named_parameters(model):
        if parameter.grad is not None and layout.is_summed(name):
            gradient = local(parameter.grad)
            kinds.setdefault(gradient.dtype, []).append(gradient)
    for gradients in kinds.values():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat, group=axis.group)
        _write_back(gradients, flat)
