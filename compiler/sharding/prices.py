"""What a placement costs in seconds of one micro-batch, forward and backward: the measure that the search minimises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...dsl.spec import Spec
from ..cluster import machine_of
from ..dims import Dim, substitute
from ..node import Node, Parameter, Tensor, Value
from ..ops import OPS
from ..ops.base import kept
from ..passes.precision import WIDTH
from ..placement import Axis, Move
from .places import Code


@dataclass(frozen=True)
class Rates:
    """Per second and accelerator: operations in bf16, bytes of its memory, bytes of the link that each axis crosses."""

    flops: float
    memory: float
    links: Mapping[Axis, float]


def rates_of(spec: Spec) -> Rates:
    """Those of the spec's cluster; of an H100 where it says none, so that a run on a CPU is laid out like a large one.

    The tensor axis crosses the links of a node if it fits in one, the others the network.
    """
    cluster = type(spec.cluster)(**vars(spec.cluster) | {"gpu": spec.cluster.gpu or "H100"})
    machine = machine_of(replace(spec, cluster=cluster))
    inside, between = machine.node_link.bandwidth, machine.network.bandwidth
    tensor = spec.parallel.tensor_model_parallel
    wide = isinstance(tensor, int) and tensor > machine.per_node
    links: dict[Axis, float] = {"tensor": between if wide else inside, "data": between, "expert": between}
    return Rates(machine.peak("bf16"), machine.bandwidth, links)


LATENCY = 1e-9
"""Seconds for starting a collective: far less than it takes, so that a model made small is laid out like the large one;
among equals, fewer collectives win."""
OTHERS_SAMPLES = 1.0
"""Seconds for gathering the batch over the data axis: each rank is to compute its own samples, unless it cannot."""

WHOLE_MATRIX = 1e-6
"""Seconds for each element of a matrix that a rank of the tensor axis holds: far above what any collective takes, since
`tensor_model_parallel` asks for ranks that share each matrix; time decides among the ways to do so. So is it with
`expert_parallel` and the experts."""
ADAMW_STEP = 28
"""Bytes that an AdamW step moves for each fp32 parameter: weight, gradient and two averages read, three written."""

KEPT = 0.1
"""Share of the time of writing a byte that keeping it for backward counts: between equals, what keeps less wins."""


@dataclass(frozen=True)
class Prices:
    """Costs on one axis; `sizes` binds the symbolic sizes of the run."""

    axis: Axis
    size: int
    sizes: Mapping[str, int]
    rates: Rates

    def number(self, dim: Dim) -> float:
        """A size as a number; a symbol without one counts as 1."""
        if isinstance(dim, int):
            return dim
        value = substitute(dim, self.sizes)
        return value if isinstance(value, int) else float(sum(abs(c) for _, c in value.terms))

    def bytes(self, tensor: Tensor, dtype: str) -> float:
        """Bytes of a tensor."""
        return prod(map(self.number, tensor.shape)) * WIDTH.get(dtype, 4)

    def collective(self, kind: str | None, amount: float) -> float:
        """Seconds of a collective on a tensor of `amount` bytes over the whole axis, by a ring."""
        if kind is None:
            return 0.0
        rounds = 2 if kind == "all_reduce" else 1
        passed = amount / self.size if kind == "all_to_all" else amount
        return rounds * (LATENCY + (self.size - 1) / self.size * passed / self.rates.links[self.axis])

    def moves(self, moves: Iterable[Move]) -> float:
        """Seconds of the collectives inside an op."""
        return sum(self._move(m.kind, m.forward) + self._move(m.kind, m.backward) for m in moves)

    def _move(self, kind: str, count: Dim) -> float:
        amount = 4 * self.number(count) * (self.size if kind == "all_gather" else 1)
        return self.collective(kind, amount) if amount else 0.0

    def parameters(self, parameters: Sequence[Parameter], codes: Sequence[Code]) -> float:
        """Seconds that stand for holding and updating parameters."""
        total = 0.0
        for parameter, code in zip(parameters, codes, strict=True):
            elements = prod(map(self.number, parameter.shape))
            if parameter.trained:
                held = elements / self.size if code[0] == "S" else elements
                total += held * ADAMW_STEP / self.rates.memory
                if self.axis != "data" and len(parameter.shape) > 1:
                    total += held * WHOLE_MATRIX
                if code == "R":  # once per step, together with others: latency does not count
                    total += 2 * 4 * elements / self.rates.links[self.axis]
        return total

    def work(self, node: Node, inputs: Sequence[Tensor], local: Sequence[float], split: bool) -> float:
        """Seconds of an op by its roofline, backward taking twice as long; `local` are bytes in and out."""
        share = 1 / self.size if split else 1.0
        flops = self.number(OPS[node.op].flops(node, inputs)) if node.op in OPS else 0.0
        return 3 * max(share * flops / self.rates.flops, sum(local) / self.rates.memory)

    def saved(self, node: Node, inputs: Sequence[Tensor], local: Mapping[Value, float], split: bool) -> float:
        """Seconds that stand for the memory that backward keeps; `local` has the bytes of known values."""
        share = 1 / self.size if split else 1.0
        total = 0.0
        for value, tensor in kept(OPS[node.op], node, inputs) if node.op in OPS else ():
            known = local.get(value) if value is not None else None
            total += share * self.bytes(tensor, "fp32") if known is None else known
        return KEPT * total / self.rates.memory
