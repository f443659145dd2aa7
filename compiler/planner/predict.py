"""What a plan's layout needs and how fast it runs on the machine of its spec."""

from __future__ import annotations

from dataclasses import dataclass

from ...dsl.spec import Spec
from ..cluster import Machine, machine_of
from ..layout import Layout, layout_of
from ..memory import StageMemory, memory_of
from ..plan import Plan
from ..traffic import StageTraffic, traffic_of
from .again import Marked
from .step import StepTime, step_time
from .units import Costs, Model, Part


@dataclass(frozen=True)
class Prediction:
    """A layout on a machine; `parts` are the stages in order, `memory` and `traffic` have an entry for each
    rank of the pipeline."""

    layout: Layout
    machine: Machine
    parts: tuple[Part, ...]
    step: StepTime
    memory: tuple[StageMemory, ...]
    traffic: tuple[StageTraffic, ...]
    samples: int
    tokens: int
    flops: float

    @property
    def per_second(self) -> float:
        """Tokens (samples where there are none) per second of all ranks."""
        return (self.tokens or self.samples) / self.step.seconds

    @property
    def rate(self) -> float:
        """Operations of the model per second and accelerator: forward and backward, nothing counted twice."""
        return self.flops / self.step.seconds / self.layout.world


def predict(plan: Plan, spec: Spec) -> Prediction:
    """The prediction for a plan after all passes."""
    layout, machine = layout_of(spec), machine_of(spec)
    parts, once = _parts(plan, spec, layout, machine)
    samples = plan.sizes.get("B", 1) * layout.data * spec.training.gradient_accumulation
    flops = 3 * once * layout.tensor * samples / plan.sizes.get("B", 1)
    return Prediction(
        layout, machine, parts, step_of(plan, spec), memory_of(plan, spec), traffic_of(plan, spec), samples,
        samples * plan.sizes.get("S", 0), flops,
    )  # fmt: skip


def step_of(plan: Plan, spec: Spec) -> StepTime:
    """The time of a step of a plan after all passes."""
    layout, machine = layout_of(spec), machine_of(spec)
    parts, _ = _parts(plan, spec, layout, machine)
    return step_time(parts, layout, spec, machine, spec.training.gradient_accumulation, Marked(plan))


def _parts(plan: Plan, spec: Spec, layout: Layout, machine: Machine) -> tuple[tuple[Part, ...], float]:
    """The stages, and the operations of one forward pass on all ranks of the pipeline."""
    costs = Costs(Model(plan), spec, machine, layout)
    parts = costs.parts(layout.stages)
    assert parts is not None, "the pipeline pass refuses what cannot be cut"
    return parts, sum(unit.work.flops * unit.count for unit in costs.units())
