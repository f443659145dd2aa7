"""Cuts the model into the stages of the pipeline."""

from __future__ import annotations

from dataclasses import replace

from ...dsl.diagnostics import Diagnostic
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..layout import layout_of
from ..node import Sync
from ..pipeline.check import check_copies, check_schedule
from ..pipeline.flatten import Line, Opened, around, everything, flatten, to_repeats
from ..pipeline.partition import partition
from ..pipeline.schedule import rank_of
from ..pipeline.share import tied
from ..pipeline.stages import build, split
from ..pipeline.units import Unit, cuts, units_of
from ..plan import Plan, graph_of
from ..refused import Refused
from .cost import cost


def pipeline(plan: Plan, spec: Spec) -> Plan:
    """Fills `Plan.stages`, each with a body of its own beside `forward`, which stays as it is; nothing at depth 1.

    The stages run what `forward` runs, in its order, and own its parameters under the same names. Those that several
    stages use are held by each of them, with a `Sync` on the axis "pipeline".
    """
    layout = layout_of(spec)
    if layout.stages == 1:
        return plan
    check_schedule(spec, layout)
    opened, line, units = _cuttable(plan, layout.stages)
    first = partition([unit.work for unit in units], [unit.crossing for unit in units], layout.stages)
    if first is None:
        raise Refused(_too_few(spec, units, layout.stages))
    placed = cuts(units, first)
    needed = around(line.steps[index].path for index, rows in placed.items())
    whole = {call for call in needed if len(_stages_in(line, placed, call)) == 1}
    closed = flatten(plan, lambda path, node: opened(path, node) and path not in whole)
    pieces = {
        index: placed[original]
        if closed.steps[index].path == line.steps[original].path
        else [(placed[original][0][0], 0, 1)]
        for index, original in enumerate(_originals(line, closed))
    }
    bodies, stages = build(plan, closed, split(closed, pieces))
    stages = tuple(replace(stage, rank=rank_of(layout, stage.index)) for stage in stages)
    graphs = plan.graphs | {name: graph_of(body) for name, body in bodies.items()}
    results = plan.results | {name: body.results for name, body in bodies.items()}
    made = replace(plan, layout=layout, graphs=graphs, results=results, bodies=plan.bodies | bodies, stages=stages)
    _check_trained(spec, made)
    copies = tied(made, stages)
    check_copies(spec, layout, copies, stages)
    return cost(replace(made, syncs=(*plan.syncs, *_moved(plan, made, closed), *copies)), spec)


def _cuttable(plan: Plan, stages: int) -> tuple[Opened, Line, list[Unit]]:
    """The line with calls opened on the way to repeats only; with all opened where that gives too few cuts."""
    for opened in (to_repeats(plan), everything):
        line = flatten(plan, opened)
        units = units_of(plan, line)
        if sum(unit.crossing is not None for unit in units[1:]) >= stages - 1:
            break
    return opened, line, units


def _check_trained(spec: Spec, plan: Plan) -> None:
    """Each rank has parameters: an optimizer of none cannot be made."""
    ranks = range(plan.layout.pipeline)
    idle = [r for r in ranks if not any(_trains(plan, stage.body) for stage in plan.stages if stage.rank == r)]
    if idle:
        span = spec.span("parallel.pipeline_depth") or Span(spec.source, 0, 0)
        message = f"rank {idle[0]} of the pipeline has no parameters to train"
        help = f"set `pipeline_depth` to {len(ranks) - len(idle)}, or repeat more layers"
        raise Refused(Diagnostic("E0405", message, span, help))


def _trains(plan: Plan, body: str) -> bool:
    return any(
        node.op == "extern"
        or any(parameter.trained for parameter in node.parameters)
        or (node.body is not None and _trains(plan, node.body))
        for node in plan.nodes(body)
    )


def _stages_in(line: Line, placed: dict[int, list[tuple[int, int, int]]], call: tuple[str, ...]) -> set[int]:
    return {row[0] for index, rows in placed.items() if line.steps[index].path[: len(call)] == call for row in rows}


def _originals(line: Line, closed: Line) -> list[int]:
    """For each step of the line with fewer calls opened, its first step in the other."""
    found = []
    at = 0
    for step in closed.steps:
        while line.steps[at].path[: len(step.path)] != step.path:
            at += 1
        found.append(at)
    return found


def _moved(plan: Plan, made: Plan, line: Line) -> list[Sync]:
    """The syncs of nodes that now stand in stages."""
    known: dict[tuple[str, str], list[Sync]] = {}
    for sync in plan.syncs:
        known.setdefault((sync.body, sync.node), []).append(sync)
    owners = {f"{s.prefix}{s.node.label}": (s.body, s.node.name) for s in line.steps if s.node.label}
    found = []
    for body in dict.fromkeys(stage.body for stage in made.stages):
        for node in made.nodes(body):
            origin = owners.get(str(node.label))
            found += [replace(sync, body=body, node=node.name) for sync in known.get(origin or ("", ""), ())]
    return found


def _too_few(spec: Spec, units: list[Unit], stages: int) -> Diagnostic:
    possible = 1 + sum(unit.crossing is not None for unit in units[1:])
    layout = layout_of(spec)
    where = spec.span("parallel.pipeline_depth") or Span(spec.source, 0, 0)
    asked = (
        f"{layout.pipeline} ranks x {layout.chunks} chunks = {stages} stages"
        if layout.chunks > 1
        else f"{stages} stages"
    )
    depth, chunks = possible // layout.chunks, possible // layout.pipeline
    change = f"set `pipeline_depth` to {max(1, depth)}"
    if depth < 2 and chunks:  # fewer chunks, since no pipeline is left with these
        change = f"set `schedule` to `{'interleaved(' + str(chunks) + ')' if chunks > 1 else 'one_f_one_b'}`"
    message = f"the pipeline has {asked}, but the model can be cut into {possible} parts at most"
    return Diagnostic("E0405", message, where, f"{change}, or repeat more layers")
