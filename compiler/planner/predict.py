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
    costs = Costs(Model(plan), spec, machine, layout)
    parts = costs.parts(layout.stages)
    assert parts is not None, "the pipeline pass refuses what cannot be cut"
    micro_batches = spec.training.gradient_accumulation
    step = step_time(parts, layout, spec, machine, micro_batches, Marked(plan))
    samples = plan.sizes.get("B", 1) * layout.data * micro_batches
    once = sum(unit.work.flops * unit.count for unit in costs.units())
    flops = 3 * once * layout.tensor * layout.data * micro_batches
    tokens = samples * plan.sizes.get("S", 0)
    return Prediction(
        layout, machine, parts, step, memory_of(plan, spec), traffic_of(plan, spec), samples, tokens, flops
    )
