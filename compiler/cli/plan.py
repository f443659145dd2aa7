"""`dskc plan`: what the model is made of, what a step computes and keeps, and on several ranks each stage's share."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...dsl.diagnostics import Sink
from . import Subparsers, add_command
from .spec_file import UsageError, add_spec_arguments, fail, read_spec, show

if TYPE_CHECKING:
    from ...dsl.spec import Spec
    from ..memory import StageMemory
    from ..plan import Plan
    from ..report import Row

EPILOG = """\
examples:
  dskc plan gpt.dsk                       parameters, operations and memory of each component; of a layout on
                                          several ranks, each stage with its memory, traffic and time, and why
  dskc plan gpt.dsk --set model.dim=512   the same for a changed setting
  dskc plan gpt.dsk --json                the whole plan for other programs
  dskc plan gpt.dsk --timeline steps.svg  when each rank of the pipeline works and waits
  dskc plan gpt.dsk --after precision     the nodes as they are after one pass; `lower`: before the first

exit codes: 0 fine, 1 errors in the spec, 2 wrong usage"""
SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
NOTES = (
    "FLOPs: those of the forward pass of one micro-batch, a multiply-add counted as two; backward takes twice as many.",
    "kept: what backward needs. A value that several components keep shows in each, and once in their sum.",
)
BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "plan", EPILOG)
    add_spec_arguments(command)
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the plan as JSON")
    output.add_argument("--after", metavar="PASS", help="print the nodes after this pass")
    output.add_argument(
        "--timeline", metavar="FILE.svg", help="draw when each rank of the pipeline works; print it as well"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the plan."""
    from ..build import Checked, check, planned, settled
    from ..passes import PASSES

    names = ["lower", *(p.__name__ for p in PASSES)]
    if args.after and args.after not in names:
        return fail(UsageError(f"no pass is called `{args.after}`; the passes are {', '.join(names)}"))
    sink = Sink()
    try:
        source = read_spec(args.spec, sink)
    except UsageError as error:
        return fail(error)
    checked = settled(check(source, args.profile, args.overrides)) if source else Checked(None, None, sink)
    plan = planned(checked, args.after)
    show(list(checked.sink), stream=sys.stderr)
    if checked.spec is None or plan is None:
        return 1
    if args.timeline:
        return timeline(plan, checked.spec, Path(args.timeline))
    if args.json:
        from ..planner.predict import predict
        from ..planner.show import prediction_data
        from ..serialize import plan_data

        predicted = {"prediction": prediction_data(plan, checked.spec, predict(plan, checked.spec))}
        print(json.dumps(plan_data(plan) | predicted, indent=2))
    elif args.after:
        print("\n".join(node_lines(plan)))
    else:
        print("\n\n".join(tables(plan, checked.spec)))
    return 1 if checked.sink.failed else 0


def tables(plan: Plan, spec: Spec) -> list[str]:
    """The components of a model in one process; the prediction where there are several ranks, or a machine is named."""
    from ..fusion.show import shown as groups
    from ..planner.predict import predict
    from ..planner.show import shown

    one = spec.parallel.world_size == 1
    named = any(origin.span is not None for path, origin in spec.origins.items() if path.startswith("cluster."))
    found = [table(plan, spec)] if one else []
    fused = [groups(plan)] if plan.groups else []
    return [*found, *([shown(plan, spec, predict(plan, spec))] if named or not one else []), *fused]


def timeline(plan: Plan, spec: Spec, file: Path) -> int:
    """Draws the schedule of one step, and prints it."""
    from ..pipeline.draw import svg, text
    from ..pipeline.timeline import simulate, stage_times

    if not plan.stages:
        return fail(UsageError("there is no timeline to draw: `parallel.pipeline_depth` is 1"))
    micro = spec.training.gradient_accumulation
    found = simulate(plan.layout, micro, stage_times(plan))
    try:
        file.write_text(svg(plan.layout, found, micro, plan.name), encoding="utf-8")
    except OSError as error:
        return fail(UsageError(f"cannot write {file}: {error.strerror or error}"))
    print(text(plan.layout, found, micro))
    return 0


def node_lines(plan: Plan) -> list[str]:
    """Every body with one line per node: result, types on the axes, op, inputs, attributes, format, cost."""
    lines: list[str] = []
    for body in plan.graphs:
        lines.append(f"{body}:")
        lines += [f"  {_node_text(node)}" for node in plan.nodes(body)]
        lines.append(f"  return {', '.join(_value(v) for v in plan.results[body])}")
    lines += [f"{s.kind} over {s.axis}: {s.parameter} of {s.node} in {s.body} ({s.reason})" for s in plan.syncs]
    return lines


def _node_text(node: Any) -> str:
    types = ", ".join(str(t) for t in node.outputs)
    places = [_places(placement) for placement in node.placements if placement]
    types += f" {{{' | '.join(places)}}}" if places else ""
    inputs = ", ".join(_value(v) for v in node.inputs)
    attributes = "".join(f" {key}={_plain(value)}" for key, value in node.attrs.items() if key != "carried")
    attributes += "".join(f" {p.name}: {{{_places(p.placement)}}}" for p in node.parameters if p.placement)
    attributes += "".join(f" {axis}: {move.kind} of {move.what}" for axis, move in node.moves)
    formats = f"  {'/'.join(node.dtypes)}" if node.dtypes else ""
    body = f" {node.body} x {node.count}" if node.body else ""
    cost = f"  flops={node.cost.flops} saved={node.cost.saved}" if node.cost else ""
    return f"{node.name}: {types} = {node.op}{body}({inputs}){attributes}{formats}{cost}  # {node.span}"


def _plain(value: Any) -> str:
    return repr(value) if isinstance(value, str | bool | int | float | tuple | None) else str(value)


def _places(placement: Any) -> str:
    return ", ".join(f"{axis} {place}" for axis, place in placement.items())


def _value(value: tuple[str, int]) -> str:
    return value[0] if value[1] == 0 else f"{value[0]}[{value[1]}]"


def table(plan: Plan, spec: Spec) -> str:
    """The plan as a person reads it."""
    from ..memory import memory_of
    from ..report import rows, summary

    listed = list(rows(plan))
    sizes = ", ".join(f"{name} = {value:,}" for name, value in plan.sizes.items())
    cost = summary(plan)
    lines = [f"{plan.name}: {cost.parameters:,} parameters; one micro-batch: {sizes}", ""]
    lines += _columns(listed, cost.parameters)
    (used,) = memory_of(plan, spec)
    lines += ["", f"memory of one process, predicted: {_bytes(used.peak)} at its peak, in {used.moment}"]
    lines += [f"  {name:<38}{_bytes(amount):>12}" for name, amount in _kinds(used, spec)]
    return "\n".join([*lines, "", *NOTES])


def _kinds(used: StageMemory, spec: Spec) -> list[tuple[str, int]]:
    kinds = [
        ("parameters (fp32)", used.parameters),
        ("gradients (fp32)", used.gradients),
        (f"optimizer ({spec.optimizer.kind})", used.optimizer),
        (f"copies in {spec.precision.compute}", used.copies),
        ("kept for backward", used.activations),
        ("computed again", used.recompute),
        ("values and gradients on their way", used.transient),
        ("batch and buffers", used.buffers),
    ]
    return [(name, amount) for name, amount in kinds if amount]


def _columns(listed: list[Row], whole: int) -> list[str]:
    width = max(len("component"), *(2 * row.depth + len(_title(row)) for row in listed)) + 2
    head = f"{'component':<{width}}{'parameters':>14}{'share':>8}{'FLOPs':>10}{'kept':>12}  output"
    lines = [head, "-" * (len(head) + 8)]
    for row in listed:
        title = " " * (2 * row.depth) + _title(row)
        share = f"{row.parameters / whole:.1%}" if row.parameters and whole else ""
        count = f"{row.parameters:,}" if row.parameters else ""
        kept = _bytes(row.saved) if row.saved else ""
        lines.append(f"{title:<{width}}{count:>14}{share:>8}{_scaled(row.flops):>10}{kept:>12}  {row.shape}".rstrip())
    return lines


def _title(row: Row) -> str:
    name = row.path.removesuffix(".*").rsplit(".", 1)[-1]
    return f"{name} x {row.count}" if row.count > 1 else name


def _scaled(number: int) -> str:
    for size, letter in SCALES:
        if number >= size:
            return f"{number / size:.2f} {letter}"
    return str(number) if number else ""


def _bytes(number: int) -> str:
    for size, unit in BYTES:
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number} B"
