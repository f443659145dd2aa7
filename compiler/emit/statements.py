"""The statements of a body: one per node, short single-use expressions written where they are used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ...dsl.source import Span
from ..dims import symbol
from ..fusion.group import Group
from ..lower.ownership import UP
from ..lower.parameters import rises
from ..node import Body, Node, Value
from ..ops import OPS
from ..ops.common import operand
from ..placement import CONVERSIONS
from .fused import Fused, contracted, kernel_call, values_of
from .layout import assignment, commented, indented
from .loops import loops, ran
from .sizes import Sizes
from .text import fitting, identifier, place

ROOM: Final = 88
"""Longest line that an inlined expression may make."""
INLINE: Final = 68
"""Longest expression, with its indentation, that is written inside another."""
CASTS: Final = {"fp32": "float", "bf16": "bfloat16", "fp16": "half"}
"""Methods of a tensor that give its values in a format."""
USED: Final = re.compile(r"\b(F|torch|layers|collectives|kernels)\.|\b(DATA|EXPERT|TENSOR)\b")
"""Modules and axes in the text of an expression, in which no string of a spec stands."""
RESERVED: Final = frozenset(
    {"self", "torch", "nn", "F", "layers", "collectives", "kernels", "recompute", "DATA", "EXPERT", "TENSOR", "Tensor",
     "range", "super", "dict", "tuple"}
)  # fmt: skip


@dataclass
class Names:
    """What all bodies share: the bodies, the letters of sizes, the classes by body, and what the text has used.

    `stages` are bodies of the pipeline: their labels may be paths, and their repeats are dicts by iteration.
    `groups` are those of each body that are kernels, `calls` their functions by body and last node.
    """

    bodies: Mapping[str, Body]
    sizes: Sizes
    classes: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    stages: frozenset[str] = frozenset()
    groups: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    calls: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def noted(self, text: str) -> str:
        """The text itself; remembers what of modules and axes it uses."""
        self.used.update(found[1] or found[2] for found in USED.finditer(text))
        return text


def stem(node: Node, nodes: Sequence[Node]) -> str:
    """The node's name without the number that told it apart from earlier ones of the same name."""
    found = re.fullmatch(r"(.+?)_\d+", node.name)
    if found and any(other.name == found[1] for other in nodes):
        return found[1]
    return node.name


@dataclass
class Uses:
    """Which nodes are written inline, and the index of the statement that needs each value last."""

    inline: set[str] = field(default_factory=set)
    last: dict[Value, int] = field(default_factory=dict)


def uses_of(names: Names, kept: Sequence[Node], results: Sequence[Value]) -> Uses:
    """Goes backwards, since what is written inline needs its inputs where it is used."""
    users: dict[Value, list[Node | None]] = {}
    for node in kept:
        for value in node.inputs:
            users.setdefault(value, []).append(node)
    for value in results:
        users.setdefault(value, []).append(None)
    order = {node.name: index for index, node in enumerate(kept)}
    at: dict[str, int] = {}
    found = Uses()
    for index in range(len(kept) - 1, -1, -1):
        node = kept[index]
        at[node.name] = index
        mine = users.get((node.name, 0), [])
        user = mine[0] if len(mine) == 1 else None
        if mine == [None] and index == len(kept) - 1 and len(results) == 1 and _returns(names, node, kept):
            found.inline.add(node.name)
            at[node.name] = len(kept)
        if user is not None and _may_inline(names, node, user, kept, order):
            found.inline.add(node.name)
            at[node.name] = at[user.name]
        for value in node.inputs:
            found.last[value] = max(found.last.get(value, -1), at[node.name])
    found.last.update(dict.fromkeys(results, len(kept)))
    return found


def _returns(names: Names, node: Node, kept: Sequence[Node]) -> bool:
    """Whether the last node is written into the `return`."""
    if node.op == "collective":
        return True
    return node.op != "repeat" and len(node.outputs) == 1 and stem(node, kept) in _plain(names, node)


def _may_inline(names: Names, node: Node, user: Node, kept: Sequence[Node], order: Mapping[str, int]) -> bool:
    between = kept[order[node.name] : order[user.name] + 1]
    if len(node.outputs) != 1 or any(other.op == "repeat" for other in between):
        return False
    if node.op == "collective":
        return True
    return stem(node, kept) in _plain(names, node)


def _plain(names: Names, node: Node) -> set[str | None]:
    """Names that a node has by itself, when the spec gives it none."""
    return {node.op, node.label, names.bodies[node.body].block if node.body else node.op}


def conversion(node: Node, value: str) -> str:
    """The call that turns a value from one placement into another: `collectives.all_gather(x, TENSOR, 1)`."""
    source, target = node.attrs["source"], node.attrs["target"]
    dims = [str(place.dim) for place in (source, target) if place.dim is not None]
    arguments = ", ".join((value, axis_name(node.attrs["axis"]), *dims))
    return f"collectives.{CONVERSIONS[source.kind, target.kind].name}({arguments})"


def axis_name(axis: str) -> str:
    """The constant of `parallel.py` that is this axis."""
    return axis.upper()


def needed(nodes: Sequence[Node], results: Sequence[Value]) -> list[Node]:
    """The nodes that lead to the results."""
    wanted = {name for name, _ in results}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted |= {name for name, _ in node.inputs}
    return [node for node in nodes if node.name in wanted]


class Writer:
    """Writes the statements of one function.

    `modules` are expressions of the modules around the statements, innermost last: `self`, or the variable of a loop
    below it where a body is written into its loop.
    """

    def __init__(self, names: Names, body: str, modules: Sequence[str] = ("self",), indent: int = 8) -> None:
        self.names, self.body, self.modules, self.indent = names, names.bodies[body], modules, indent
        self.types = {node.name: node.outputs for node in self.body.nodes}
        self.lines: list[str] = []
        self.text: dict[Value, str] = {}
        self.held: dict[str, Value] = {}
        self.pending: dict[Value, tuple[Node, int]] = {}
        self.uses = Uses()
        self.staged = body in names.stages
        self.busy: set[str] = set(RESERVED)
        self.place = ""

    def bind(self, value: Value, text: str) -> None:
        """A value that is there already, under this name."""
        self.text[value] = identifier(text)
        self.held[text] = value

    def run(self, nodes: Sequence[Node], results: Sequence[Value]) -> None:
        """Writes what leads to the results."""
        kept = [node for node in needed(nodes, results) if node.op != "input"]
        kept = contracted(kept, self.names.groups.get(self.body.name, ()))
        self.uses = uses_of(self.names, kept, results)
        for index, node in enumerate(kept):
            if node.op == "repeat":
                self._repeat(node, index)
            else:
                self._step(node, index)

    def begin(self, nodes: Sequence[Node], results: Sequence[Value], given: Sequence[Value]) -> None:
        """Names values that come from another function, ahead of the statements that use them."""
        self.uses = uses_of(self.names, [node for node in needed(nodes, results) if node.op != "input"], results)
        made = {node.name: node for node in self.body.nodes}
        for name, output in given:
            text = self._name(made[name], output, -1)
            self.held[text], self.text[(name, output)] = (name, output), text

    def settle(self, values: Sequence[Value]) -> list[str]:
        """Names of values; each gets a statement of its own if it has none yet."""
        for value in values:
            if value in self.pending:
                self._flush(value)
        return [self.text[value] for value in values]

    def _step(self, node: Node, index: int) -> None:
        text = self._call(node)
        if node.name in self.uses.inline and len(text) + self.indent <= INLINE:
            self._hold_back(node, text, index)
            return
        waiting = [value for value in node.inputs if value in self.pending]
        if len(self._targets(node, index)) + len(text) + self.indent > ROOM and waiting:
            for value in waiting:
                self._flush(value)
            text = self._call(node)
            if node.op == "collective" and node.name in self.uses.inline:
                self._hold_back(node, text, index)
                return
        for value in waiting:
            self.pending.pop(value, None)
        self._assign(node, text, index)

    def _hold_back(self, node: Node, text: str, index: int) -> None:
        """An expression to be written where it is used."""
        self.text[(node.name, 0)], self.pending[(node.name, 0)] = text, (node, index)

    def _flush(self, value: Value) -> None:
        node, index = self.pending.pop(value)
        self._assign(node, self.text[value], index)

    def _assign(self, node: Node, text: str, index: int) -> None:
        target = self._targets(node, index)
        self._hold(node, target.split(", "))
        self.write(assignment(f"{target} = ", text, self.indent), node.span)

    def _targets(self, node: Node, index: int) -> str:
        names: list[str] = []
        made = {each.name: each for each in self.body.nodes}
        for name, output in values_of(node):
            names.append(self._name(made[name], output, index, names))
        return ", ".join(names)

    def _name(self, node: Node, output: int, index: int, others: Sequence[str] = ()) -> str:
        """A variable name: the node's, its sizes, and a number where a value still needed has the name."""
        base = self._base(node, output)
        suffix = self.names.sizes.suffix(node.outputs[output])
        number, name = 1, base + suffix
        while name in self.busy or name in others or self.uses.last.get(self.held.get(name, ("", 0)), -1) > index:
            number += 1
            name = f"{base}_{number}{suffix}"
        return identifier(name)

    def _base(self, node: Node, output: int) -> str:
        """The name in the spec; a value keeps its own through collectives."""
        made = {each.name: each for each in self.body.nodes}
        while node.op == "collective":
            name, output = node.inputs[0]
            node = made[name]
        several = node.bound or tuple(f"{node.name}_{i}" for i in range(len(node.outputs)))
        return fitting(several[output] if len(node.outputs) > 1 else stem(node, self.body.nodes))

    def _hold(self, node: Node, names: Sequence[str]) -> None:
        for value, name in zip(values_of(node), names, strict=False):  # of a repeat, what it carries
            self.held[name], self.text[value] = value, name

    def write(self, lines: Sequence[str], span: Span | None) -> None:
        """Adds a statement with its place, unless the one before has the same."""
        note = place(span)
        self.lines.extend(commented(lines, "" if note == self.place else note, self.indent))
        self.place = note

    def _call(self, node: Node) -> str:
        """Python text of one node."""
        self.names.used.update(("recompute",) if node.recompute else ())
        args = [self.text[value] for value in node.inputs]
        if isinstance(node, Fused):
            return self.names.noted(kernel_call(node, self.names.calls[self.body.name, node.name], args, self._callee))
        if node.op in ("call", "extern"):
            return ran(self._callee(node), args, node.recompute)
        if node.op == "collective":
            return self.names.noted(conversion(node, self._moved(node, args[0])))
        op = OPS[node.op]
        self.names.used.update(op.imports)
        inputs = [self.types[name][output] for name, output in node.inputs]
        text = op.emit(node, inputs, Arguments(node, args, self), self._callee(node) if op.module else "")
        return self.names.noted(text)

    def _moved(self, node: Node, text: str) -> str:
        """The value in the format that a collective moves it in."""
        source, output = node.inputs[0]
        made = next(each.dtypes[output] for each in self.body.nodes if each.name == source)
        return text if made == node.dtypes[0] else f"{operand(text)}.{CASTS[node.dtypes[0]]}()"

    def _callee(self, node: Node) -> str:
        if node.label is not None:
            return attribute(self.modules[-1], (node.label,))
        share = node.share or ()
        ups = sum(step == UP for step in share)
        level = len(self.modules) - 1 - ups
        return attribute(self.modules[level], share[ups:], self.staged and level == 0)

    def _repeat(self, node: Node, index: int) -> None:
        """A loop; what it carries keeps its variable from one iteration to the next."""
        given = self.settle(node.inputs)
        count = node.attrs["carried"]
        carried = [self._carry(node, k, given[k], index) for k in range(count)]
        item, values = self._item(node), [*carried, *given[count:]]
        modules = iterations(self.names, self.body.name, self.modules[-1], str(node.label))
        if self.body.name in self.names.stages and node.recompute:
            modules = f"list({modules})"
        if rises(self.names.bodies, str(node.body)):
            self.write([f"for {item} in {modules}:"], node.span)
            self._inside(node, item, values, carried, index)
        else:
            self._loops(node, item, modules, values, carried)
        self._hold(node, carried)

    def _loops(self, node: Node, item: str, modules: str, values: Sequence[str], carried: Sequence[str]) -> None:
        self.names.used.update(("recompute",) if node.recompute else ())
        start = self._free("first", modules)
        for head, call in loops(node, item, start, modules, values):
            indent = self.indent + 4 if head else self.indent
            lines = assignment(f"{', '.join(carried)} = ", call, indent)
            self.write([head] if head else lines, node.span)
            self.lines.extend(indented(lines) if head else ())

    def _carry(self, node: Node, k: int, name: str, index: int) -> str:
        """The variable of a carried value: the given one, unless its first value is needed again."""
        value = node.inputs[k]
        if self.uses.last.get(value, -1) <= index and node.inputs.count(value) == 1:
            return name
        target = self._name(node, k, -1)
        self.write([f"{target} = {name}"], node.span)
        self.held[target] = (node.name, k)
        return target

    def _item(self, node: Node) -> str:
        label, block = str(node.label).rpartition(".")[2], self.names.bodies[str(node.body)].block
        item = fitting(label[:-1] if label.endswith("s") and len(label) > 2 else block)
        return identifier(self._free(item, label))

    def _free(self, name: str, other: str) -> str:
        """The name, made longer until nothing else is called so."""
        while name in self.busy or name in self.held or name == other:
            name = f"{name}_"
        return name

    def _inside(self, node: Node, item: str, given: Sequence[str], carried: Sequence[str], index: int) -> None:
        """The statements of an iteration, written into the loop."""
        body = self.names.bodies[str(node.body)]
        inner = Writer(self.names, body.name, (*self.modules, item), self.indent + 4)
        inner.staged = self.staged
        living = {name for name, value in self.held.items() if self.uses.last.get(value, -1) > index}
        inner.busy = self.busy | {item, *given} | living
        inputs = [each for each in body.nodes if each.op == "input"]
        for source, name in zip(inputs, given, strict=True):
            inner.bind((source.name, 0), name)
        inner.run(body.nodes, body.results)
        texts = inner.settle(body.results)
        inner.lines.extend(assignment(f"{', '.join(carried)} = ", ", ".join(texts), inner.indent))
        self.lines.extend(indented(inner.lines))


class Arguments(dict[str, str]):
    """Expressions by argument; a symbolic size such as `B` is read from a tensor that has it."""

    def __init__(self, node: Node, texts: Sequence[str], writer: Writer) -> None:
        grouped: dict[str, list[str]] = {}
        for name, text in zip(node.args, texts, strict=True):
            grouped.setdefault(name, []).append(text)
        super().__init__({name: ", ".join(each) for name, each in grouped.items()})
        self.writer = writer

    def __missing__(self, name: str) -> str:
        for variable, (source, output) in self.writer.held.items():
            shape = self.writer.types[source][output].shape
            if symbol(name) in shape:
                return f"{variable}.shape[{shape.index(symbol(name))}]"
        raise KeyError(name)


def iterations(names: Names, body: str, module: str, label: str) -> str:
    """The modules of a repeat in a body, one for each iteration."""
    return attribute(module, (label,)) + (".values()" if body in names.stages else "")


def attribute(module: str, path: Sequence[str], numbered: bool = False) -> str:
    """`self.layers[0].query` for a path of labels; with `numbered` the first number is a key, `self.layers["0"]`."""
    text = module
    for part in (part for label in path for part in label.split(".")):
        key = f'"{int(part)}"' if part.isdigit() and numbered else part
        text += f"[{key}]" if part.isdigit() else f".{identifier(part)}"
        numbered = numbered and not part.isdigit()
    return text
