"""Costs of a model for each size of the tensor axis and of the micro-batch, each computed once in a search."""

from __future__ import annotations

from dataclasses import replace

from ...dsl.spec import Spec
from ..cluster import Machine
from ..layout import Layout
from ..lower import Lowered, sizes
from ..passes import PASSES
from ..pipeline.schedule import is_v, rank_of
from ..pipeline.timeline import in_flight
from ..plan import build_plan
from ..refused import Refused
from . import again
from .choice import Choice, expert_of, spec_of
from .step import Again, RankWork, rank_works, simulated_idle, step_of_works
from .units import Costs, Model, Part, Unit


class Tables:
    """What a search looks up; plans are made for one stage and few data ranks, and cut arithmetically."""

    def __init__(self, spec: Spec, lowered: Lowered, machine: Machine) -> None:
        self.spec, self.lowered, self.machine = spec, lowered, machine
        self._models: dict[tuple[int, bool], Model | str] = {}
        self._costs: dict[tuple[int, bool, bool, bool, int], Costs] = {}
        self._works: dict[tuple[object, ...], tuple[RankWork, ...] | None] = {}
        self._held: dict[tuple[object, ...], tuple[tuple[int, float], ...] | None] = {}
        self._idle: dict[tuple[object, ...], float] = {}
        self._flights: dict[tuple[object, ...], tuple[int, ...]] = {}

    def model(self, tensor: int, sequence: bool) -> Model | str:
        """The model split over so many ranks; why not, where it cannot be."""
        key = (tensor, sequence)
        if key not in self._models:
            self._models[key] = self._split(tensor, sequence)
        return self._models[key]

    def _split(self, tensor: int, sequence: bool) -> Model | str:
        expert = expert_of(self.spec)
        layout = Layout(
            data=max(2, expert), tensor=tensor, expert=expert, sequence_parallel=sequence,
            gpu_per_node=self.machine.per_node,
        )  # fmt: skip
        spec = spec_of(self.spec, Choice(layout, self.spec.training.micro_batch_size, 1, "off"))
        try:
            it = self.lowered
            plan = build_plan(it.name, it.bodies, it.objectives, sizes(spec), it.targets, layout)
            for apply in PASSES:
                plan = apply(plan, spec)
            return Model(plan)
        except Refused as refused:
            return refused.diagnostic.message

    def costs(self, choice: Choice) -> Costs:
        """The units of a choice."""
        layout = choice.layout
        staged = layout.pipeline > 1  # its kernels are not joined
        key = (layout.tensor, layout.sequence_parallel, layout.shard == "none", staged, choice.micro_batch)
        if key not in self._costs:
            model = self.model(layout.tensor, layout.sequence_parallel)
            assert isinstance(model, Model), "a search leaves out what cannot be split"
            self._costs[key] = Costs(model, self.spec, self.machine, layout, choice.micro_batch)
        return self._costs[key]

    def parts(self, choice: Choice) -> tuple[Part, ...] | None:
        """The stages of a choice."""
        return self.costs(choice).parts(choice.layout.stages)

    def works(self, choice: Choice) -> tuple[RankWork, ...] | None:
        """What each rank of a choice does in a micro-batch; None where the model cannot be cut so often."""
        layout = choice.layout
        key = (*self._key(choice), layout.shard == "none", choice.checkpointing)
        if key not in self._works:
            parts = self.parts(choice)
            found = None if parts is None else rank_works(parts, layout, self.machine, self.again(choice))
            self._works[key] = found
        return self._works[key]

    def _key(self, choice: Choice) -> tuple[object, ...]:
        """What the cut, and the sizes in it, depend on."""
        it = choice.layout
        return it.tensor, it.sequence_parallel, choice.micro_batch, it.pipeline, it.chunks, is_v(it)

    def again(self, choice: Choice) -> Again:
        """What a choice computes again."""
        parts = self.parts(choice)
        assert parts is not None, "only what can be cut is looked at"
        return again.Root(parts) if choice.checkpointing == "sqrt" else again.Kind(choice.checkpointing)

    def timed(self, choice: Choice) -> float:
        """Seconds of a step, its schedule simulated; layouts that differ in what they shard share the simulation."""
        parts, works = self.parts(choice), self.works(choice)
        assert parts is not None, "only what can be cut is timed"
        assert works is not None, "only what can be cut is timed"
        layout = choice.layout
        cast = layout.shard == "none"
        key = (*self._key(choice), cast, layout.schedule, choice.checkpointing, choice.accumulation)
        if key not in self._idle:
            again = self.again(choice)
            self._idle[key] = simulated_idle(parts, works, layout, self.machine, choice.accumulation, again)
        return step_of_works(works, self._idle[key], layout, self.spec, self.machine, choice.accumulation).seconds

    def needed(self, choice: Choice) -> float | None:
        """Bytes that the fullest rank holds at least: states, and what backward keeps of the micro-batches in flight.

        None where the model cannot be cut so often.
        """
        layout = choice.layout
        key = (*self._key(choice), layout.schedule, choice.checkpointing, min(choice.accumulation, 4 * layout.pipeline))
        if key not in self._held:
            self._held[key] = self._holding(choice)
        held = self._held[key]
        per_element = _state_bytes(self.spec, layout)
        low = layout.shard != "none" and self.spec.precision.compute in ("bf16", "fp16", "fp8")
        part = 0.5 if low else 1.0  # FSDP's parameters are in the low format, and so is what they make
        return None if held is None else max(parameters * per_element + part * kept for parameters, kept in held)

    def _holding(self, choice: Choice) -> tuple[tuple[int, float], ...] | None:
        """Trained elements and kept bytes of each rank."""
        layout, parts = choice.layout, self.parts(choice)
        if parts is None:
            return None
        parameters, kept = [0] * layout.pipeline, [0.0] * layout.pipeline
        root = again.Root(parts)
        for stage, (part, flight) in enumerate(zip(parts, self.flights(layout, choice.accumulation), strict=True)):
            rank = rank_of(layout, stage)
            parameters[rank] += part.parameters
            kept[rank] += flight * _kept(part, choice.checkpointing, root)
        return tuple(zip(parameters, kept, strict=True))

    def flights(self, layout: Layout, micro_batches: int) -> tuple[int, ...]:
        """Micro-batches that each stage holds; as many for any number beyond a few rounds of the pipeline."""
        most = min(micro_batches, 2 * layout.pipeline + micro_batches % layout.pipeline) if layout.pipeline > 1 else 1
        if layout.schedule == "gpipe":
            most = micro_batches
        key = (layout.pipeline, layout.chunks, layout.schedule, most)
        if key not in self._flights:
            self._flights[key] = in_flight(replace(layout, data=1, tensor=1), most)
        return self._flights[key]


def _state_bytes(spec: Spec, layout: Layout) -> float:
    """Bytes of parameters, gradients and states for each trained element of a rank."""
    momentum = spec.optimizer.kind != "sgd" or spec.setting("optimizer.momentum") != 0.0
    states = 8 if spec.optimizer.kind != "sgd" else 4 if momentum else 0
    low = 2 if spec.precision.compute in ("bf16", "fp16") else 0
    if layout.shard == "none":
        return 8 + states + low
    gathered = 0 if layout.shard == "parameters" else (low or 4)
    gradients = 4 if layout.shard == "optimizer" else 4 / layout.data
    return (4 + states) / layout.data + gathered + gradients


def _kept(part: Part, kind: str, root: again.Root) -> float:
    """Bytes that backward keeps of one micro-batch of a stage."""
    return sum(_unit_kept(unit, count, kind, root) for unit, count in part.pieces)


def _unit_kept(unit: Unit, count: int, kind: str, root: again.Root) -> float:
    if not unit.repeated or kind in ("off", "given"):
        return unit.saved * count
    if kind == "selective":
        return min(unit.saved, unit.inner + unit.work.results) * count
    if kind == "full":
        return unit.inner * count
    return unit.inner * -(-count // root.segment(unit, count))
