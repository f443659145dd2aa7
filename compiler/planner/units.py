"""The model as the planner sees it: units in a row, between which a pipeline can cut, with their costs on one rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from math import gcd

from ...dsl.spec import Spec
from ..cluster import Machine
from ..layout import Layout
from ..pipeline import units as pipeline_units
from ..pipeline.flatten import Line, everything, flatten, to_repeats
from ..pipeline.partition import partition
from ..pipeline.units import cuts
from ..plan import Plan
from . import network
from .work import Work, Worker


@dataclass(frozen=True)
class Unit:
    """`count` equal steps of the model in a row; all numbers are those of one of them, on one rank.

    `parameters` are trained elements, `saved` the bytes that backward keeps, `edge` those that cross a cut before it
    (`inner`: between two of its steps); `tensor` are the (forward, backward) seconds of the collectives in it.
    """

    name: str
    count: int
    work: Work
    parameters: int
    saved: int
    edge: int
    inner: int
    repeated: bool
    tensor: tuple[float, float] = (0.0, 0.0)

    @property
    def forward(self) -> float:
        """Seconds of one forward pass."""
        return self.work.forward + self.tensor[0]

    @property
    def backward(self) -> float:
        """Seconds of one backward pass, nothing recomputed."""
        return self.work.backward + self.tensor[1]


@dataclass(frozen=True)
class Part:
    """What a stage runs: (unit, how many of its steps) in order; `enters` and `edge` are bytes it gets and gives."""

    pieces: tuple[tuple[Unit, int], ...]
    enters: int = 0
    edge: int = 0

    @cached_property
    def forward(self) -> float:
        """Seconds of one forward pass."""
        return sum(unit.forward * count for unit, count in self.pieces)

    @cached_property
    def backward(self) -> float:
        """Seconds of one backward pass, nothing recomputed."""
        return sum(unit.backward * count for unit, count in self.pieces)

    @cached_property
    def weights(self) -> float:
        """The seconds of backward that give the gradients of parameters: half of its products."""
        return sum(unit.work.products[1] / 2 * count for unit, count in self.pieces)

    @cached_property
    def tensor(self) -> float:
        """Seconds of collectives in both passes."""
        return sum(sum(unit.tensor) * count for unit, count in self.pieces)

    @cached_property
    def parameters(self) -> int:
        """Trained elements."""
        return sum(unit.parameters * count for unit, count in self.pieces)

    @cached_property
    def steps(self) -> int:
        """Steps of the model."""
        return sum(count for _, count in self.pieces)

    @property
    def layers(self) -> int:
        """Steps of repeats in it."""
        return sum(count for unit, count in self.pieces if unit.repeated)


@dataclass
class Model:
    """The units of an uncut plan, and the cuts that the pipeline pass would make of it."""

    plan: Plan
    _lines: dict[bool, tuple[Line, list[pipeline_units.Unit]]] = field(default_factory=dict)
    _cuts: dict[int, tuple[bool, dict[int, list[tuple[int, int, int]]]] | None] = field(default_factory=dict)

    def line(self, opened: bool) -> tuple[Line, list[pipeline_units.Unit]]:
        """The model in one line, and what it can be cut into; `opened`: all calls written out."""
        if opened not in self._lines:
            line = flatten(self.plan, everything if opened else to_repeats(self.plan))
            self._lines[opened] = (line, pipeline_units.units_of(self.plan, line))
        return self._lines[opened]

    def possible(self) -> int:
        """Most stages."""
        return 1 + max(sum(unit.crossing is not None for unit in self.line(opened)[1][1:]) for opened in (False, True))

    def pieces(self, stages: int) -> tuple[bool, dict[int, list[tuple[int, int, int]]]] | None:
        """For each step of a line its (stage, first iteration, iterations); None where there are too few cuts."""
        if stages not in self._cuts:
            self._cuts[stages] = self._cut(stages)
        return self._cuts[stages]

    def _cut(self, stages: int) -> tuple[bool, dict[int, list[tuple[int, int, int]]]] | None:
        opened = sum(unit.crossing is not None for unit in self.line(False)[1][1:]) < stages - 1
        units = self.line(opened)[1]
        scale = gcd(*(unit.crossing or 0 for unit in units)) or 1
        crossing = tuple(None if unit.crossing is None else unit.crossing // scale for unit in units)
        found = _cut(tuple(unit.work for unit in units), crossing, stages)
        return None if found is None else (opened, cuts(units, found))


class Costs:
    """Units of a model for one machine, tensor axis and number of samples per micro-batch."""

    def __init__(
        self, model: Model, spec: Spec, machine: Machine, layout: Layout, micro_batch: int | None = None
    ) -> None:
        sizes = dict(model.plan.sizes)
        if micro_batch is not None and "B" in sizes:
            sizes["B"] = micro_batch
        self.model, self.machine, self.layout = model, machine, layout
        casts = layout.shard == "none"  # FSDP gathers the parameters in the low format
        self.worker = Worker(model.plan, machine, sizes, spec.precision.compute, fuses(spec, layout), casts)
        self.scale = sizes.get("B", 1) / model.plan.sizes.get("B", 1)
        self._units: dict[bool, tuple[Unit, ...]] = {}
        self._parts: dict[int, tuple[Part, ...] | None] = {}

    def units(self, opened: bool = False) -> tuple[Unit, ...]:
        """All units in order."""
        if opened not in self._units:
            self._units[opened] = tuple(_timed(unit, self.layout, self.machine) for unit in self._read(opened))
        return self._units[opened]

    def parts(self, stages: int) -> tuple[Part, ...] | None:
        """The stages; None where the model has too few units."""
        if stages not in self._parts:
            self._parts[stages] = self._stages(stages)
        return self._parts[stages]

    def _stages(self, stages: int) -> tuple[Part, ...] | None:
        if stages == 1:
            return (Part(tuple((unit, unit.count) for unit in self.units())),)
        cut = self.model.pieces(stages)
        if cut is None:
            return None
        units = self.units(cut[0])
        rows: dict[int, list[tuple[Unit, int]]] = {stage: [] for stage in range(stages)}
        entering = dict.fromkeys(range(stages), 0)
        for index, pieces in cut[1].items():
            for stage, first, count in pieces:
                if not rows[stage]:
                    entering[stage] = units[index].inner if first else units[index].edge
                rows[stage].append((units[index], count))
        return tuple(Part(tuple(rows[k]), entering[k], entering.get(k + 1, 0)) for k in range(stages))

    def _read(self, opened: bool) -> Iterator[Unit]:
        line, cuttable = self.model.line(opened)
        first = {unit.step: unit for unit in reversed(cuttable)}
        later = {unit.step: unit for unit in cuttable if unit.iteration == 1}
        for index, step in enumerate(line.steps):
            node = step.node
            repeated = node.op == "repeat" and node.body is not None
            work = self.worker.body(str(node.body)) if repeated else self.worker.of(step.body, [node])
            times = node.count if repeated else 1
            assert node.cost is not None, "the pass `cost` comes first"
            edge = int((first[index].crossing or 0) * self.scale)
            inner = int((later[index].crossing or 0) * self.scale) if index in later else edge
            saved = self.worker.number(node.cost.saved) // times
            yield Unit(
                f"{step.prefix}{node.label or step.name}", times, work, node.cost.parameters // times, saved, edge,
                inner, repeated,
            )  # fmt: skip


@cache
def _cut(work: tuple[int, ...], crossing: tuple[int | None, ...], stages: int) -> tuple[int, ...] | None:
    """The partition of the pipeline pass; layouts whose units weigh the same share it."""
    return partition(work, crossing, stages)


def fuses(spec: Spec, layout: Layout) -> bool:
    """Whether kernels are joined: `auto` compiles where there is a compiler, as beside every GPU; no pipeline does."""
    execution = spec.training.execution
    compiles = layout.pipeline == 1 and spec.cluster.gpu is not None
    return execution in ("compiled", "cuda_graph") or (execution != "eager" and compiles)


def _timed(unit: Unit, layout: Layout, machine: Machine) -> Unit:
    """The collectives inside a unit as seconds."""
    seconds = [0.0, 0.0]
    for (axis, kind, amount), counts in unit.work.moves.items():
        once = network.COLLECTIVES[kind](amount, network.group(layout, axis, machine), machine)
        seconds = [before + count * once for before, count in zip(seconds, counts, strict=True)]
    return replace(unit, tensor=(seconds[0], seconds[1]))
