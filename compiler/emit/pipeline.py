"""The pipeline in `parallel.py` and `train.py`: schedule, what crosses between stages, and the lines of a step."""

from __future__ import annotations

from ...dsl.spec import Spec
from ..layout import Layout
from ..pipeline.edges import Crossing, edges
from ..pipeline.schedule import is_v
from ..plan import Plan
from .layout import bracketed, commented, fits
from .step import batches, counted
from .text import literal, place, quoted

DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16", "int64": "torch.int64", "bool": "torch.bool"}
"""Of edges; fp32 goes without saying."""


def schedule_name(layout: Layout) -> str:
    """The schedule as `runtime.pipeline` knows it."""
    return "zero_bubble_v" if is_v(layout) else layout.schedule


def edges_table(plan: Plan) -> list[str]:
    """`EDGES` of `parallel.py`: what each stage sends to the next."""
    note = "# What goes from each stage to the next, in the sizes of one rank."
    rows = [[_edge(crossing) for crossing in row] for row in edges(plan)]
    inner = [f"({', '.join(row)}{',' if len(row) == 1 else ''})" for row in rows]
    if len(rows) == 1 and fits(f"EDGES = ({inner[0]},)", 0):
        return [note, f"EDGES = ({inner[0]},)"]
    lines = [note, "EDGES = ("]
    for row, text in zip(rows, inner, strict=True):
        lines += (
            [f"    {text},"] if fits(f"    {text},", 0) else ["    (", *(f"        {each}," for each in row), "    ),"]
        )
    return [*lines, ")"]


def _edge(crossing: Crossing) -> str:
    arguments = [literal(crossing.shape)]
    arguments += [DTYPES[crossing.dtype]] if crossing.dtype in DTYPES else []
    arguments += ["gradient=False"] if not crossing.gradient else []
    return f"pipeline.Edge({', '.join(arguments)})"


def tied_table(plan: Plan) -> list[str]:
    """`TIED` of `parallel.py`: parameters that several pipeline ranks hold; none where no stages share any."""
    found = tied_ranks(plan)
    if not found:
        return []
    rows = (f"    {quoted(name)}: {literal(ranks)}," for name, ranks in found.items())
    return ["# Parameters that several stages use, and the pipeline ranks that hold a copy.", "TIED = {", *rows, "}"]


def tied_ranks(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Parameters that several pipeline ranks hold, by name."""
    labels = {(body, node.name): node.label for body in plan.roots for node in plan.nodes(body)}
    found = {}
    for sync in plan.syncs:
        ranks = tuple(dict.fromkeys(plan.stages[stage].rank for stage in sync.stages))
        if sync.axis == "pipeline" and len(ranks) > 1:
            found[f"{labels[sync.body, sync.node]}.{sync.parameter}"] = ranks
    return found


def objective_names(plan: Plan) -> tuple[str, ...]:
    """The names of what the last stage returns."""
    losses = [each for each in plan.objectives if each.kind == "loss"]
    single = len(losses) == 1 and losses[0].weight == 1
    return ("loss", *(o.name for o in plan.objectives if o.kind != "exit" and not (single and o.kind == "loss")))


def pipeline_tables(spec: Spec, plan: Plan) -> tuple[list[str], ...]:
    """What `parallel.py` says of the pipeline; nothing without one."""
    if not plan.stages:
        return ()
    named = f"SCHEDULE = {quoted(schedule_name(plan.layout))}"
    schedule = commented([named], place(spec.span("parallel.schedule")), 0)
    said = f"OBJECTIVES = {literal(objective_names(plan))}"
    rows = ["OBJECTIVES = (", *(f"    {quoted(name)}," for name in objective_names(plan)), ")"]
    names = [said] if fits(said, 0) else rows
    tied = tied_table(plan)
    return ([*schedule, *names], edges_table(plan), *([tied] if tied else []))


def uses_torch(plan: Plan) -> bool:
    """Whether `EDGES` names a dtype."""
    return any(crossing.dtype in DTYPES for row in edges(plan) for crossing in row)


def build(spec: Spec, layout: Layout) -> tuple[str, ...]:
    """This rank's stages with their start values, and the schedule that runs them."""
    arguments = ["model", "EDGES", "SCHEDULE", "ACCUMULATION", "LAYOUT", "place", "OBJECTIVES"]
    arguments += ["autocast=torch.bfloat16"] if spec.precision.compute == "bf16" else []
    return (
        f"torch.manual_seed(SEED{' + DATA.index' if layout.data > 1 else ''})",
        "with initialize.on_meta():",
        "    model = pipeline.build(STAGES, SCHEDULE, LAYOUT)",
        "gradients = wrap(model)",
        "for stage in model:",
        "    initialize.materialize(stage, place)",
        "initialize.initialize(model, INITIAL, SEED, LAYOUT)",
        *bracketed("running = pipeline.Pipeline(", arguments, ")", 4),
    )


def compute(layout: Layout, counts: bool) -> tuple[str, ...]:
    """Forward and backward of all micro-batches."""
    lines = [*batches(layout), *(counted("batches", layout) if counts else ())]
    return (*lines, f"loss = running.step(batches{', counted=counted' if counts else ''})", "gradients.finish()")
