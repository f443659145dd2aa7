"""`model.py`: a class for each body of the plan, the model's own last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..layout import Layout
from ..lower.inputs import prediction, targets
from ..node import Body, Node, Objective, Value
from ..plan import Plan
from .counts import COUNTED, counting, counts_function
from .externs import ExternFile, extern_imports
from .kernels import Kernels
from .layout import assignment, bracketed, commented, fits
from .modules import block_class, constructor, give_back, signature
from .sizes import sizes_of
from .statements import Names, Writer, needed
from .text import class_name, comment, dotted, place, quoted
from .tree import Owned, decaying, owned, start_values
from .views import Class, Function, ModelView

TAKEN = {"Tensor", "INITIAL", "DECAYING", "F", "Path", "True", "False", "None"}


def bodies_of(plan: Plan) -> dict[str, Body]:
    """The bodies as the passes left them, each after those that it runs; "forward", then the stages come last."""
    found = {
        name: replace(body, nodes=plan.nodes(name), results=plan.results[name]) for name, body in plan.bodies.items()
    }
    ordered: dict[str, Body] = {}

    def visit(name: str) -> None:
        for node in found[name].nodes:
            if node.body is not None and node.body not in ordered:
                visit(node.body)
        ordered[name] = found[name]

    for root in plan.roots:
        visit(root)
    return ordered


def class_names(plan: Plan, bodies: Sequence[str]) -> dict[str, str]:
    """Classes by body; the model's own name comes first, so that `train.py` can rely on it."""
    taken = set(TAKEN)
    found = {}
    for body in ["forward", *(name for name in bodies if name != "forward")]:
        wanted = class_name(plan.name if body == "forward" else body)
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}{number}"
        taken.add(name)
        found[body] = name
    return found


def model_view(plan: Plan, spec_file: str, runtime: str, externs: Sequence[ExternFile], kernels: Kernels) -> ModelView:
    """Everything `model.py` says of a model that is not cut."""
    bodies = bodies_of(plan)
    parameters = list(owned(bodies, (bodies["forward"],)))
    forward = bodies["forward"]
    ordered = [forward, *(b for b in bodies.values() if b is not forward)]
    names = Names(bodies, sizes_of(ordered, plan.layout.tensor), groups=kernels.groups, calls=kernels.calls)
    names.classes = class_names(plan, list(bodies))
    names.used.update(["LAYOUT"] if plan.layout.world > 1 else [])
    classes = [block_class(names, body) for body in bodies.values() if body.name != "forward"]
    classes.append(_model(names, plan))
    functions = counts_function(names, plan)
    count = sum(scalars(each, plan.layout) for each in parameters)
    title = (
        f"Model `{comment(plan.name)}`, {millions(count)} parameters. Written by dskc from {spec_file}; yours to edit."
    )
    return ModelView(
        title,
        tuple(names.sizes.legend()),
        imports(names, runtime, externs),
        tuple(tables(parameters)),
        tuple(classes),
        functions,
    )


def scalars(each: Owned, layout: Layout) -> int:
    """Number of trained values of a parameter, over all iterations and the ranks that split it."""
    count = int(each.parameter.trained)
    for axis, ranks in (("tensor", layout.tensor), ("expert", layout.expert)):
        split = each.parameter.placement.get(axis)  # type: ignore[call-overload]
        count *= ranks if split is not None and split.dim is not None else 1
    for size in (*each.parameter.shape, *each.counts):
        count *= int(size)  # type: ignore[arg-type]
    return count


def millions(count: int) -> str:
    """`5.5 M`."""
    for size, suffix in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if count >= size:
            return f"{count / size:.1f}{suffix}"
    return str(count)


def imports(
    names: Names, runtime: str, externs: Sequence[ExternFile], starts: bool = True
) -> tuple[tuple[str, ...], ...]:
    """Import statements, in groups; `starts` where the model gives itself its start values."""
    third = ["import torch"] if "torch" in names.used else []
    third += ["import torch.nn.functional as F"] if "F" in names.used else []
    modules = [name for name in ("collectives", "layers", "recompute") if name in names.used]
    ours = [f"from {runtime} import {', '.join(modules)}"] if modules else []
    ours += [f"from {runtime}.initialize import initialize"] if starts else []
    torch_lines = ["from torch import Tensor, nn"]
    axes = [name for name in ("DATA", "EXPERT", "LAYOUT", "TENSOR") if name in names.used]
    beside = sorted([*extern_imports(externs), *([f"from parallel import {', '.join(axes)}"] if axes else [])])
    beside = ["import kernels", *beside] if "kernels" in names.used else beside
    if "." in runtime:  # an installed package sorts with the other libraries
        return tuple(tuple(group) for group in ([*third, *ours, *torch_lines], beside) if group)
    return tuple(tuple(group) for group in ([*third, *torch_lines], sorted([*ours, *beside])) if group)


def tables(parameters: list[Owned]) -> list[str]:
    """Start values, and what decays where that is not all matrices."""
    note = "# Start values: each parameter draws from the seed and its own name."
    rows = [_row(value, names) for value, names in start_values(parameters).items()]
    lines = [note, "INITIAL = {", *(line for row in rows for line in row), "}"]
    decay = decaying(parameters)
    if decay is not None:
        lines += ["", "# What weight decay acts on.", "DECAYING = (", *(f"    {quoted(d)}," for d in decay), ")"]
    return lines


def _row(value: str, names: list[str]) -> list[str]:
    texts = [quoted(dotted(name.replace("*", "0")) and name) for name in names]
    line = f"    {quoted(value)}: ({', '.join(texts)}{',' if len(texts) == 1 else ''}),"
    if fits(line, 0) and len(texts) == 1:
        return [line]
    return [f"    {quoted(value)}: (", *(f"        {text}," for text in texts), "    ),"]


def _model(names: Names, plan: Plan) -> Class:
    """The model: its parts, its prediction, its objectives and its start values."""
    body = names.bodies["forward"]
    predicted, extra = _predicted(body, plan.objectives)
    header = commented([f"class {names.classes['forward']}(nn.Module):"], place(body.span), 0)
    methods = constructor(names, body)
    outputs = [predicted, *extra]
    methods.append(_prediction(names, body, outputs))
    if extra:
        methods[-1] = replace(
            methods[-1],
            header=_renamed(methods[-1].header),
            doc="The prediction, and what the objectives need of the way to it.",
        )
        methods.append(_only_prediction(body, predicted))
    methods.append(_objectives(names, body, plan.objectives, outputs))
    start = Function(
        ("def initialize(self, seed: int) -> None:",),
        "Sets the start values of all parameters.",
        ("initialize(self, INITIAL, seed, LAYOUT)" if plan.layout.world > 1 else "initialize(self, INITIAL, seed)",),
    )
    return Class(tuple(header), (*methods, start))


def _renamed(header: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(line.replace("def forward(", "def outputs(") for line in header)


def predicted_value(body: Body, objectives: Sequence[Objective]) -> Value:
    """What the model returns: what its first loss compares with the targets."""
    first = next(o for o in objectives if o.kind == "loss")
    return prediction(body, first)


def _predicted(body: Body, objectives: Sequence[Objective]) -> tuple[Value, list[Value]]:
    """The prediction, and what else of the way to it the objectives need."""
    value = predicted_value(body, objectives)
    inside = {node.name for node in needed(body.nodes, [value]) if node.op != "input"}
    wanted = [o.value for o in objectives if o.kind != "exit"]
    outside = [node for node in needed(body.nodes, wanted) if node.name not in inside and node.op != "input"]
    used = [*(v for node in outside for v in node.inputs), *wanted]
    extra = [v for v in dict.fromkeys(used) if v[0] in inside and v != value]
    return value, extra


def _inputs(body: Body, value: Value | None = None) -> list[Node]:
    unused = targets(body, value) if value is not None else ()
    return [node for node in body.nodes if node.op == "input" and node.name not in unused]


def _writer(names: Names, inputs: Sequence[Node]) -> Writer:
    writer = Writer(names, "forward")
    for node in inputs:
        writer.bind((node.name, 0), node.name)
    return writer


def _prediction(names: Names, body: Body, outputs: Sequence[Value]) -> Function:
    inputs = _inputs(body, outputs[0])
    writer = _writer(names, inputs)
    writer.run(body.nodes, outputs)
    give_back(writer, outputs)
    header = signature("forward", [f"{node.name}: Tensor" for node in inputs], len(outputs))
    types = {node.name: node.outputs for node in body.nodes}
    shapes = ", ".join(f"{node.name} {names.sizes.shape(node.outputs[0])}" for node in inputs)
    name, index = outputs[0]
    doc = f"{name.split('_')[0].capitalize()} {names.sizes.shape(types[name][index])} of {shapes}."
    return Function(tuple(header), comment(doc), tuple(writer.lines))


def _only_prediction(body: Body, value: Value) -> Function:
    inputs = [node.name for node in _inputs(body, value)]
    header = signature("forward", [f"{name}: Tensor" for name in inputs], 1)
    return Function(
        tuple(header), "The prediction.", tuple(assignment("return ", f"self.outputs({', '.join(inputs)})[0]", 8))
    )


def _objectives(names: Names, body: Body, objectives: Sequence[Objective], outputs: Sequence[Value]) -> Function:
    writer = _writer(names, _inputs(body))
    inputs = [node.name for node in _inputs(body, outputs[0])]
    inside = {node.name for node in needed(body.nodes, [outputs[0]]) if node.op != "input"}
    wanted = [o.value for o in objectives if o.kind != "exit"]
    rest = [n for n in needed(body.nodes, wanted) if n.name not in inside]
    writer.begin(rest, wanted, outputs)
    call = f"{'self.outputs' if len(outputs) > 1 else 'self'}({', '.join(inputs)})"
    writer.lines.extend(assignment(f"{', '.join(writer.text[v] for v in outputs)} = ", call, 8))
    writer.run(rest, wanted)
    rows = objective_rows(writer, [(o, o.value) for o in objectives if o.kind != "exit"])
    writer.lines.extend(bracketed("return {", rows, "}", 8))
    given = [f"{n.name}: Tensor" for n in _inputs(body)] + ([COUNTED] if counting(body) else [])
    header = bracketed("def objectives(", ["self", *given], ") -> dict[str, Tensor]:", 4)
    doc = "The loss that is minimised; its parts and the metrics follow by name."
    return Function(tuple(header), doc, tuple(writer.lines))


def objective_rows(writer: Writer, objectives: Sequence[tuple[Objective, Value]]) -> list[str]:
    """Entries of the dict that the objectives, each with its value, make: the sum of the losses comes first."""
    terms, entries = [], []
    for each, value in objectives:
        (text,) = writer.settle([value])
        if each.kind == "loss":
            terms.append(text if each.weight == 1 else f"{each.weight!r} * {text}")
        entries.append((each, text))
    single = len(terms) == 1 and sum(o.kind == "loss" for o, _ in entries) == 1 and "*" not in terms[0]
    rows = [f'"loss": {" + ".join(terms)}']
    return rows + [f"{quoted(o.name)}: {text}" for o, text in entries if not (single and o.kind == "loss")]
