"""`model.py` of a pipeline: a class for each stage that differs, and the list of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..node import Body, Node
from ..plan import Plan, Stage
from .counts import COUNTED, counting, counts_function
from .externs import ExternFile
from .kernels import Kernels
from .layout import assignment, bracketed, commented
from .model import TAKEN, bodies_of, imports, millions, objective_rows, scalars, tables
from .modules import block_class, give_back, input_name, made, signature, ties
from .sizes import sizes_of
from .statements import Names, Writer, attribute
from .text import class_name, comment, fitting, identifier, place
from .tree import owned
from .views import Class, Function, ModelView


def stages_view(plan: Plan, spec_file: str, runtime: str, externs: Sequence[ExternFile], kernels: Kernels) -> ModelView:
    """Everything `model.py` says of a model that is cut into stages."""
    every = bodies_of(plan)
    own = dict.fromkeys(stage.body for stage in plan.stages)
    blocks = [name for name in every if name in _run_by(every, own) and name not in own]
    ordered = [every["forward"], *(every[name] for name in (*blocks, *own))]
    names = Names(
        every, sizes_of(ordered, plan.layout.tensor), {}, set(), frozenset(own), kernels.groups, kernels.calls
    )
    names.classes = _classes(plan, blocks)
    classes = [block_class(names, every[name]) for name in blocks]
    classes += [_stage_class(names, plan, name) for name in own]
    functions = counts_function(names, plan)
    parameters = list(owned(every, (every["forward"],)))
    count = millions(sum(scalars(each, plan.layout) for each in parameters))
    title = f"Model `{comment(plan.name)}`, {count} parameters, in {len(plan.stages)} stages."
    listed = _listed(names, plan)
    groups = imports(names, runtime, externs, starts=False)
    if any("partial(" in line for line in listed):
        groups = (("from functools import partial",), *groups)
    return ModelView(
        f"{title}\n\nWritten by dskc from {spec_file}; yours to edit.",
        tuple(names.sizes.legend()),
        groups,
        tuple(tables(parameters)),
        tuple(classes),
        functions,
        tuple(listed),
    )


def _run_by(bodies: dict[str, Body], roots: Iterator[str] | dict[str, None]) -> set[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [str(node.body) for node in bodies[name].nodes if node.body is not None]
    return found


def _classes(plan: Plan, blocks: Sequence[str]) -> dict[str, str]:
    """Classes by body: `FirstStage`, `LastStage`, and `MiddleStage` or, where there are several, `Stage1` ..."""
    wanted = {name: class_name(name) for name in blocks}
    middle = dict.fromkeys(stage.body for stage in plan.stages[1:-1])
    wanted |= {stage.body: f"Stage{stage.index}" for stage in reversed(plan.stages)}
    wanted |= dict.fromkeys(middle, "MiddleStage") if len(middle) == 1 else {}
    wanted |= {plan.stages[0].body: "FirstStage", plan.stages[-1].body: "LastStage"}
    taken, found = {*TAKEN, "STAGES"}, {}
    for body, name in wanted.items():
        number, chosen = 1, name
        while chosen in taken:
            number += 1
            chosen = f"{name}{number}"
        taken.add(chosen)
        found[body] = chosen
    return found


def _stage_class(names: Names, plan: Plan, name: str) -> Class:
    body = names.bodies[name]
    mine = [stage for stage in plan.stages if stage.body == name]
    header = commented([f"class {names.classes[name]}(nn.Module):"], place(body.span), 0)
    return Class(tuple(header), (*_constructor(names, body, mine), _forward(names, plan, body, mine[0])))


def _constructor(names: Names, body: Body, stages: Sequence[Stage]) -> list[Function]:
    lines: list[str] = []
    containers: set[str] = set()
    ranges = _ranges(stages)
    for node in body.nodes:
        lines += _part(names, node, containers, ranges)
    lines += [line for node in body.nodes for line in ties(names, (body,), ("self",), node, 8)]
    given = [f"{text}: range" for text in ranges.values() if not text.startswith("range(")]
    head = bracketed("def __init__(", ["self", *given], ") -> None:", 4)
    return [Function(tuple(head), "", ("super().__init__()", *lines))] if lines else []


def _ranges(stages: Sequence[Stage]) -> dict[str, str]:
    """For each repeat by label the numbers of its iterations: known, or an argument where stages share the class."""
    if len(stages) == 1:
        return {label: _range(first, count) for label, first, count in stages[0].iterations}
    labels = [label for label, _, _ in stages[0].iterations]
    short = [label.rpartition(".")[2] for label in labels]
    names = [
        last if short.count(last) == 1 else label.replace(".", "_") for label, last in zip(labels, short, strict=True)
    ]
    return {
        label: identifier(fitting(f"{n.removesuffix('s')}_numbers")) for label, n in zip(labels, names, strict=True)
    }


def _range(first: int, count: int) -> str:
    return f"range({first}, {first + count})" if first else f"range({count})"


def _part(names: Names, node: Node, containers: set[str], ranges: dict[str, str]) -> list[str]:
    """The submodule of one node, with the modules around it that only hold names."""
    source = node.attrs["node"] if node.op == "hold" else node
    text = made(names, source) if node.label is not None else None
    if node.label is None or text is None:
        return []
    lines: list[str] = []
    around = node.label.split(".")[:-1]
    for depth in range(1, len(around) + 1):
        path = ".".join(around[:depth])
        if path not in containers:
            containers.add(path)
            lines.append(f"{attribute('self', (path,))} = nn.Module()")
    if node.op == "repeat":
        text = f"nn.ModuleDict({{str(i): {text} for i in {ranges[node.label]}}})"
    own = assignment(f"{attribute('self', (node.label,))} = ", text, 8)
    note = f"{place(node.span)}, a copy of another stage's" if node.op == "hold" else place(node.span)
    return [*lines, *commented(own, note, 8)]


def _forward(names: Names, plan: Plan, body: Body, stage: Stage) -> Function:
    writer = Writer(names, body.name)
    inputs = [node for node in body.nodes if node.op == "input"]
    for number, node in enumerate(inputs):
        received = number < len(stage.receives)
        writer.bind((node.name, 0), input_name(writer, names, node) if received else node.name)
    given = [f"{writer.text[node.name, 0]}: Tensor" for node in inputs] + ([COUNTED] if counting(body) else [])
    writer.run(body.nodes, body.results)
    if stage.index < len(plan.stages) - 1:
        give_back(writer, body.results)
        return Function(tuple(signature("forward", given, len(body.results))), "", tuple(writer.lines))
    wanted = [each for each in plan.objectives if each.kind != "exit"]
    rows = objective_rows(writer, list(zip(wanted, body.results, strict=True)))
    writer.lines.extend(bracketed("return {", rows, "}", 8))
    head = bracketed("def forward(", ["self", *given], ") -> dict[str, Tensor]:", 4)
    doc = "The loss that is minimised; its parts and the metrics follow by name."
    return Function(tuple(head), doc, tuple(writer.lines))


def _listed(names: Names, plan: Plan) -> list[str]:
    """The tuple of all stages."""
    shared = [stage.body for stage in plan.stages]
    lines = ["# The parts of the pipeline, in their order.", "STAGES = ("]
    for stage in plan.stages:
        name = names.classes[stage.body]
        if shared.count(stage.body) > 1 and stage.iterations:
            ranges = [_range(first, count) for _, first, count in stage.iterations]
            name = f"partial({', '.join([name, *ranges])})"
        lines.append(f"    {name},")
    return [*lines, ")"]
