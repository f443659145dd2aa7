"""The model in one line: its nodes in program order, calls that may be cut written out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ...dsl.source import Span
from ..node import Node, Tensor, Value
from ..placement import Placement
from ..plan import Plan

Path = tuple[str, ...]
"""Names of the nodes from `forward` down to one: the calls around it, and itself."""
Flat = tuple[Path, int]
"""An output of a node by its path."""


@dataclass(frozen=True)
class Step:
    """A node of the line; `inputs` are what it reads, `prefix` the labels of the calls around it, each with a dot.

    `body` owns the node, which is as it stands there; `name` is its own without the number that tells it apart there.
    """

    path: Path
    body: str
    node: Node
    inputs: tuple[Flat, ...]
    prefix: str
    name: str


@dataclass(frozen=True)
class Made:
    """What a value is: type, format, placement; and the place that makes it."""

    tensor: Tensor
    dtype: str
    placement: Placement
    span: Span
    name: str


@dataclass(frozen=True)
class Line:
    """Steps in order, what the values of `forward` are in it, and what each is; a model's input has no step."""

    steps: tuple[Step, ...]
    values: Mapping[Value, Flat]
    types: Mapping[Flat, Made]


Opened = Callable[[Path, Node], bool]


def flatten(plan: Plan, opened: Opened) -> Line:
    """The line with those calls written out that `opened` says."""
    steps: list[Step] = []
    inputs = {node.name: ((node.name,), 0) for node in plan.nodes("forward") if node.op == "input"}
    values = _run(plan, opened, "forward", (), "", inputs, steps)
    types: dict[Flat, Made] = {
        ((node.name,), 0): _made(node, node.name, 0) for node in plan.nodes("forward") if node.op == "input"
    }
    types |= {(s.path, k): _made(s.node, s.name, k) for s in steps for k in range(len(s.node.outputs))}
    return Line(tuple(steps), values, types)


def _stem(plan: Plan, body: str, node: Node) -> str:
    found = re.fullmatch(r"(.+?)_\d+", node.name)
    return found[1] if found and found[1] in plan.graphs[body] else node.name


def _made(node: Node, name: str, output: int) -> Made:
    placement = node.placements[output] if node.placements else {}
    own = node.bound[output] if node.bound else name
    return Made(node.outputs[output], node.dtypes[output], placement, node.span, own)


def _run(
    plan: Plan, opened: Opened, body: str, path: Path, prefix: str, given: Mapping[str, Flat], steps: list[Step]
) -> dict[Value, Flat]:
    """Adds the steps of a body; its values."""
    known: dict[Value, Flat] = {(name, 0): value for name, value in given.items()}
    for node in plan.nodes(body):
        if node.op == "input":
            continue
        inputs = tuple(known[value] for value in node.inputs)
        own = (*path, node.name)
        if node.op == "call" and node.share is None and opened(own, node):
            assert node.body is not None, "a call has a body"
            names = [inner.name for inner in plan.nodes(node.body) if inner.op == "input"]
            inside = _run(
                plan, opened, node.body, own, f"{prefix}{node.label}.", dict(zip(names, inputs, strict=True)), steps
            )
            known |= {(node.name, k): inside[value] for k, value in enumerate(plan.results[node.body])}
        else:
            steps.append(Step(own, body, node, inputs, prefix, _stem(plan, body, node)))
            known |= {(node.name, k): (own, k) for k in range(len(node.outputs))}
    return known


def to_repeats(plan: Plan) -> Opened:
    """Opens the calls on the way to a repeat."""
    found: dict[str, bool] = {}

    def repeats(body: str) -> bool:
        if body not in found:
            nodes = plan.nodes(body)
            found[body] = any(n.op == "repeat" or (n.op == "call" and repeats(str(n.body))) for n in nodes)
        return found[body]

    return lambda _, node: repeats(str(node.body))


def everything(_path: Path, _node: Node) -> bool:
    """Opens every call."""
    return True


def around(paths: Iterator[Path]) -> set[Path]:
    """All calls that the steps lie in."""
    return {path[:depth] for path in paths for depth in range(1, len(path))}
