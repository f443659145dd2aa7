"""How many targets of a batch count: a function of `model.py`, where losses leave some out."""

from __future__ import annotations

from dataclasses import replace

from ..node import Body, Node
from ..plan import Plan
from .layout import assignment, bracketed
from .statements import Names, Writer, needed
from .views import Function

COUNTED = "counted: Tensor"
"""What a method with masked losses takes last: how many targets each mask leaves, see `totals.counted`."""


def counting(body: Body) -> bool:
    """Whether a body divides by counts that the program passes in."""
    return any("counted" in node.attrs for node in body.nodes)


def counts_function(names: Names, plan: Plan) -> tuple[Function, ...]:
    """`counts`, from the inputs of the model as the spec has them, before a layout split anything."""
    found = plan.counts.masks
    if not found:
        return ()
    body = replace(plan.bodies["forward"], nodes=plan.counts.nodes)
    values = tuple(dict.fromkeys(mask.targets for mask in found))
    leading = {node.name for node in needed(body.nodes, values)}
    inputs = [node for node in body.nodes if node.op == "input"]
    taken = [node for node in inputs if node.name in leading]
    writer = Writer(replace(names, bodies={**names.bodies, "forward": body}), "forward", indent=4)
    for node in taken:
        writer.bind((node.name, 0), node.name)
    writer.run(body.nodes, values)
    texts = dict(zip(values, writer.settle(values), strict=True))
    calls = [f"layers.counted({texts[m.targets]}{f', ignore={m.ignore}' if m.ignore != -100 else ''})" for m in found]
    names.noted("layers.counted() torch.stack()")
    writer.lines.extend(assignment("return ", f"torch.stack([{', '.join(calls)}])", 4))
    arguments = [f"{node.name}: Tensor" for node in taken] + (["**_: Tensor"] if len(taken) < len(inputs) else [])
    header = bracketed("def counts(", arguments, ") -> Tensor:")
    return (Function(tuple(header), "How many targets of a batch count.", tuple(writer.lines)),)


def perplexities(plan: Plan) -> tuple[str, ...]:
    """Metrics that are e to the power of a mean: over batches their mean is the geometric one."""
    made = {node.name: node for node in plan.nodes("forward")}

    def op(node: Node) -> str:
        return op(made[node.inputs[0][0]]) if node.op == "collective" else node.op

    return tuple(each.name for each in plan.objectives if op(made[each.value[0]]) == "perplexity")
