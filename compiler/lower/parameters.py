"""All parameters of a model, each once, under the path that checkpoints know it by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..dims import Dim, product, substitute
from ..node import Body, Node, Parameter
from .ownership import UP, flat


@dataclass(frozen=True)
class Owned:
    """A parameter of the model: `path` has `*` for the iterations of a repeat, which are `count` in all."""

    path: str
    parameter: Parameter
    count: int


def owned(bodies: Mapping[str, Body], body: str = "forward") -> Iterator[Owned]:
    """The parameters of a body and all it runs; a tied one is left to the call that it is tied to."""
    return _owned(bodies, (bodies[body],), (), 1)


def _owned(bodies: Mapping[str, Body], chain: tuple[Body, ...], path: tuple[str, ...], count: int) -> Iterator[Owned]:
    for node in chain[-1].nodes:
        if node.label is None:
            continue
        tied = tied_names(bodies, chain, node)
        inner = (*path, node.label, "*") if node.op == "repeat" else (*path, node.label)
        for parameter in node.parameters:
            if parameter.name not in tied:
                yield Owned(".".join((*inner, parameter.name)), parameter, count)
        if node.body is not None and not tied:
            yield from _owned(bodies, (*chain, bodies[node.body]), inner, count * node.count)


def tied_names(bodies: Mapping[str, Body], chain: tuple[Body, ...], node: Node) -> frozenset[str]:
    """Paths, inside the call, of its parameters that are those of the call it shares with; `chain` ends in its body."""
    if node.share is None:
        return frozenset()
    target = shared_node(bodies, chain, node.share)
    theirs = flat(bodies, target.parameters, target.body) or {}
    ours = flat(bodies, node.parameters, node.body) or {}
    return frozenset(name for name in ours if name in theirs)


def shared_node(bodies: Mapping[str, Body], chain: tuple[Body, ...], share: tuple[str, ...]) -> Node:
    """The call that a share names; `chain` are the bodies around it, outermost first."""
    ups = sum(step == UP for step in share)
    steps = [step for step in share[ups:] if not step.isdigit()]
    body = chain[len(chain) - 1 - ups]
    found = next(node for node in body.nodes if node.label == steps[0])
    for step in steps[1:]:
        assert found.body is not None
        found = next(node for node in bodies[found.body].nodes if node.label == step)
    return found


def total(bodies: Mapping[str, Body], sizes: Mapping[str, int], trained: bool = True) -> int:
    """Number of trained values (of buffers with `trained=False`), each body counted once whatever the depth."""
    known: dict[str, int] = {}

    def of(chain: tuple[Body, ...]) -> int:
        name = chain[-1].name
        if name not in known:
            known[name] = sum(of_node(chain, node) for node in chain[-1].nodes if node.label is not None)
        return known[name]

    def of_node(chain: tuple[Body, ...], node: Node) -> int:
        tied = tied_names(bodies, chain, node)
        own = [p for p in node.parameters if p.trained == trained and p.name not in tied]
        inner = node.count * of((*chain, bodies[node.body])) if node.body is not None and not tied else 0
        return sum(_number(product(p.shape), sizes) for p in own) + inner

    return of((bodies["forward"],))


def tensors(bodies: Mapping[str, Body]) -> int:
    """Number of parameter tensors, the iterations of a repeat counted once."""
    known: dict[str, int] = {}
    for name, body in bodies.items():  # a body comes after those that it runs
        known[name] = sum(len(n.parameters) + (known[n.body] if n.body else 0) for n in body.nodes if n.label)
    return known["forward"]


def _number(dim: Dim, sizes: Mapping[str, int]) -> int:
    value = substitute(dim, sizes)
    assert isinstance(value, int), f"a parameter of unknown size {value}"
    return value


def rises(bodies: Mapping[str, Body], body: str) -> int:
    """How many levels above itself a body of a repeat uses parameters of; such a body is written into its loop."""
    levels = [0]
    for node in bodies[body].nodes:
        levels.append(sum(step == UP for step in node.share or ()))
        if node.op == "repeat":
            levels.append(rises(bodies, str(node.body)) - 1)
    return max(levels)
