"""Classes of modules: their parts, what these share, and their statements."""

from __future__ import annotations

from collections.abc import Sequence

from ..lower.ownership import UP
from ..lower.parameters import rises
from ..node import Body, Node, Value
from ..ops import OPS
from .layout import assignment, bracketed, commented
from .statements import Names, Writer, attribute, iterations
from .text import identifier, literal, place
from .tree import tied
from .views import Class, Function


def block_class(names: Names, body: Body) -> Class:
    """The class of a block."""
    name = names.classes[body.name]
    header = commented([f"class {name}(nn.Module):"], place(body.span), 0)
    methods = constructor(names, body)
    if not rises(names.bodies, body.name):
        methods = [*methods, _forward(names, body)]
    return Class(tuple(header), tuple(methods))


def constructor(names: Names, body: Body) -> list[Function]:
    """`__init__`, unless it would make nothing."""
    lines: list[str] = []
    for node in body.nodes:
        lines += part(names, node)
    lines += [line for node in body.nodes for line in ties(names, (body,), ("self",), node, 8)]
    header = ("def __init__(self) -> None:",)
    return [Function(header, "", ("super().__init__()", *lines))] if lines else []


def part(names: Names, node: Node) -> list[str]:
    """The submodule of one node."""
    if node.label is None:
        return []
    text = made(names, node)
    if text is None:
        return []
    if node.op == "repeat":
        text = f"nn.ModuleList({text} for _ in range({node.count}))"
    lines = assignment(f"self.{identifier(node.label)} = ", text, 8)
    return commented(lines, place(node.span), 8)


def made(names: Names, node: Node) -> str | None:
    """The expression that makes the module of a node, of one iteration where it is a repeat."""
    if node.body is not None:
        return f"{names.classes[node.body]}()"
    if node.op == "extern":
        values = [f"{identifier(name)}={literal(value)}" for name, value in node.attrs["arguments"].items()]
        return f"{identifier(node.attrs['class'])}({', '.join(values)})"
    op = OPS[node.op]
    if op.module is None:
        return None
    return names.noted(op.module(node))


def ties(names: Names, chain: tuple[Body, ...], modules: tuple[str, ...], node: Node, indent: int) -> list[str]:
    """Statements that make parameters of a part those of another."""
    lines: list[str] = []
    if node.share is not None and node.label is not None:
        ups = sum(step == UP for step in node.share)
        if ups >= len(modules):
            return []
        level = len(modules) - 1 - ups
        source = attribute(modules[level], node.share[ups:], level == 0 and chain[0].name in names.stages)
        own = attribute(modules[-1], (node.label,))
        for path in tied(names.bodies, chain, node):
            inner = attribute("", path.split("."))
            lines += assignment(f"{own}{inner} = ", f"{source}{inner}", indent)
    if node.op == "repeat" and rises(names.bodies, str(node.body)):
        item = f"{identifier(str(node.label).rpartition('.')[2])}_{len(modules)}"
        body = names.bodies[str(node.body)]
        inside = [
            line
            for each in body.nodes
            if UP in (each.share or ()) or each.op == "repeat"
            for line in ties(names, (*chain, body), (*modules, item), each, indent + 4)
        ]
        if inside:
            head = f"for {item} in {iterations(names, chain[-1].name, modules[-1], str(node.label))}:"
            lines += [head, *(f"    {line}" for line in inside)]
    return lines


def _forward(names: Names, body: Body) -> Function:
    inputs = [node for node in body.nodes if node.op == "input"]
    writer = Writer(names, body.name)
    for node in inputs:
        writer.bind((node.name, 0), input_name(writer, names, node))
    header = signature("forward", [f"{writer.text[(n.name, 0)]}: Tensor" for n in inputs], len(body.results))
    writer.run(body.nodes, body.results)
    give_back(writer, body.results)
    return Function(tuple(header), "", tuple(writer.lines))


def input_name(writer: Writer, names: Names, node: Node) -> str:
    """The variable of an input."""
    name = f"{node.name}{names.sizes.suffix(node.outputs[0])}"
    return name if name not in writer.held else f"{node.name}_"


def signature(name: str, parameters: Sequence[str], results: int) -> list[str]:
    """The first lines of a method that takes tensors."""
    gives = "Tensor" if results == 1 else f"tuple[{', '.join(['Tensor'] * results)}]"
    return bracketed(f"def {name}(", ["self", *parameters], f") -> {gives}:", 4)


def give_back(writer: Writer, values: Sequence[Value]) -> None:
    """The `return` statement."""
    if len(values) == 1 and values[0] in writer.pending:
        node, _ = writer.pending.pop(values[0])
        text, span = writer.text[values[0]], node.span
    else:
        text, span = ", ".join(writer.settle(values)), None
    lines = assignment("return ", text, writer.indent)
    if span is not None:
        writer.write(lines, span)
    else:
        writer.lines.extend(lines)
