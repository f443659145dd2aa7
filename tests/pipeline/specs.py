"""What the tests of the pipeline share: plans of specs, and the modules of their programs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from torch import nn

from dskc.compiler.build import check, planned
from dskc.compiler.dims import substitute
from dskc.compiler.emit.kernels import Kernels
from dskc.compiler.emit.model import model_view
from dskc.compiler.emit.render import render
from dskc.compiler.emit.stages import stages_view
from dskc.compiler.plan import Plan
from dskc.dsl.diagnostics import Sink
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec

EXAMPLES = Path(__file__).parents[2] / "examples"

SETTINGS = """
data { source: random(), vocab: 64, sequence: 8 }
training { steps: 1, micro_batch_size: 2, gradient_accumulation: 24 }
"""

# A value that skips stages, losses and metrics on the way, a tower that starts late, sharing in each of its forms.
SKIPS = (
    """dsk 1
model skips {
  dim: 16
  block layer(x: [B, S, dim]) { return x + mlp(rms_norm(x), hidden: 32) }
  block tower(tokens: int[B, S], depth: int) {
    x = embedding(tokens, size: data.vocab, dim: dim)
    repeat depth as layers { x = layer(x) }
    return rms_norm(x)
  }
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = embedding(tokens, size: data.vocab, dim: dim) as embedding
    first = x
    repeat 3 as early { x = layer(x) }
    early_logits = linear(x, out: data.vocab) as early_head
    loss(weight: 0.3) cross_entropy(early_logits, targets) as early_loss
    metric accuracy(early_logits, targets) as early_accuracy
    scale = parameter(shape: (dim)) as scale
    repeat 4 as late { x = layer(x) * (scale + 1) }
    other = tower(targets, depth: 3)
    x = layer(x + first) as last_layer
    further = embedding(targets, size: data.vocab, dim: dim) share embedding
    h = (x + other + further) * layer(x) share last_layer
    loss cross_entropy(linear(h, out: data.vocab) share embedding, targets) as final_loss
  }
}
"""
    + SETTINGS
)


def plan_of(text: str, *overrides: str, name: str = "skips.dsk") -> tuple[Plan | None, Spec, Sink]:
    checked = check(Source(name, text), None, overrides)
    assert checked.spec is not None, list(checked.sink)
    assert checked.lowered is not None, list(checked.sink)
    return planned(checked), checked.spec, checked.sink


def cut(text: str, stages: int, *overrides: str) -> Plan:
    """The plan of a spec in so many stages on as many ranks."""
    layout = [f"parallel.{name}={stages}" for name in ("world_size", "gpu_per_node", "pipeline_depth")]
    plan, _, sink = plan_of(text, *layout, *overrides)
    assert plan is not None, list(sink)
    return plan


def modules(plan: Plan) -> ModuleType:
    """`model.py` of a plan, run."""
    made = stages_view if plan.stages else model_view
    view = made(plan, "m.dsk", "dskc.runtime", (), Kernels({}, {}, {}))
    module = ModuleType("model")
    exec(compile(render("program/model.py", view), "model.py", "exec"), module.__dict__)
    return module


def of_stages(plan: Plan) -> list[nn.Module]:
    return [make() for make in modules(plan).STAGES]


def number(plan: Plan, size: object) -> int:
    value = substitute(size, plan.sizes)  # type: ignore[arg-type]
    assert isinstance(value, int)
    return value
