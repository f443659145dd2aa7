"""Which losses and metrics may have targets that do not count, and whether their number is known before forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .node import Body, Node, Value
from .ops import OPS

VIEWS: Final = ("slice", "select", "split", "concat", "rearrange", "transpose", "flatten", "expand")
"""Ops that make no new numbers."""
FILLS: Final = ("where", "shift")
"""Ops that put a number that the spec names into the place of others."""
Bodies = Mapping[str, Body]


@dataclass(frozen=True)
class Mask:
    """Targets of the body "forward", of which those that are `ignore` do not count."""

    targets: Value
    ignore: int


@dataclass(frozen=True)
class Counts:
    """The masks whose counted targets the batch alone tells, and the nodes of "forward" that make these targets.

    The nodes, inputs first, are those from before a layout split any.
    """

    masks: tuple[Mask, ...] = ()
    nodes: tuple[Node, ...] = ()


def masked(bodies: Bodies, body: str, node: Node) -> bool:
    """Data have no -100: only a spec that asks for another number, or computes targets, leaves some out."""
    if node.op not in OPS or "ignore" not in node.attrs:
        return False
    return node.attrs["ignore"] != -100 or any(
        made.op not in VIEWS and made.op != "input" for made in _origins(bodies, body, _targets(node))
    )


def counts_of(bodies: Bodies) -> Counts:
    """Each mask once: those of losses and metrics in "forward" whose targets follow from inputs of the model."""
    forward = bodies["forward"]
    found = tuple(dict.fromkeys(_mask(node) for node in forward.nodes if countable(bodies, "forward", node)))
    leading = {node.name for mask in found for node in _leading(forward, mask.targets)}
    return Counts(found, tuple(n for n in forward.nodes if found and (n.op == "input" or n.name in leading)))


def countable(bodies: Bodies, body: str, node: Node) -> bool:
    """Whether a node is masked, and no part of the model has to run to know which targets count."""
    if body != "forward" or not masked(bodies, body, node):
        return False
    return all(_plain(made) for made in _leading(bodies[body], _targets(node)))


def number(counts: Counts, bodies: Bodies, body: str, node: Node) -> int | None:
    """The number of a node's mask among those that are counted before forward."""
    return counts.masks.index(_mask(node)) if countable(bodies, body, node) else None


def unknown(bodies: Bodies, body: str, node: Node) -> bool:
    """Whether targets are left out, but how many is known only once the model has run."""
    if not masked(bodies, body, node) or countable(bodies, body, node):
        return False
    return node.attrs["ignore"] != -100 or any(made.op in FILLS for made in _origins(bodies, body, _targets(node)))


def _mask(node: Node) -> Mask:
    return Mask(_targets(node), node.attrs["ignore"])


def _targets(node: Node) -> Value:
    return node.inputs[node.args.index("targets")]


def _leading(body: Body, value: Value) -> Iterator[Node]:
    """The nodes of a body that a value needs."""
    nodes = {node.name: node for node in body.nodes}
    waiting, seen = [value[0]], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield nodes[name]
            waiting += [source for source, _ in nodes[name].inputs]


def _plain(node: Node) -> bool:
    """Whether a node computes the same wherever it is: no parameters, no chance, no block."""
    if node.op == "input":
        return True
    if node.op not in OPS or node.op == "dropout" or node.attrs.get("dropout"):
        return False
    return OPS[node.op].module is None and not node.parameters


def _origins(bodies: Bodies, body: str, value: Value) -> Iterator[Node]:
    """What gives a value its numbers, beyond views and through blocks: inputs of the model, or ops."""
    waiting, seen = [(body, value)], set[tuple[str, Value]]()
    made = {name: {node.name: node for node in each.nodes} for name, each in bodies.items()}
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.add(at)
            node = made[at[0]][at[1][0]]
            sources = list(_sources(bodies, *at, node))
            waiting += sources
            if not sources:
                yield node


def _sources(bodies: Bodies, body: str, value: Value, node: Node) -> Iterator[tuple[str, Value]]:
    """The values that this one has its numbers from, if its node makes none."""
    if node.op == "input":
        yield from _given(bodies, body, node)
    elif node.body is not None:
        yield node.body, bodies[node.body].results[value[1]]
        if node.op == "repeat":
            yield body, node.inputs[value[1]]
    elif node.op in VIEWS:
        yield from ((body, each) for each in node.inputs)


def _given(bodies: Bodies, body: str, made: Node) -> Iterator[tuple[str, Value]]:
    """What calls and iterations of a body give as one of its inputs."""
    inputs = [node.name for node in bodies[body].nodes if node.op == "input"]
    position = inputs.index(made.name)
    for caller in bodies.values():
        for node in caller.nodes:
            if node.body == body:
                yield caller.name, node.inputs[position]
                if node.op == "repeat" and position < node.attrs["carried"]:
                    yield body, bodies[body].results[position]
