"""The nodes of a solved plan, each with the way that it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..node import Node
from .eliminate import Key
from .search import Search, Solved


@dataclass(frozen=True)
class Use:
    """A node of a body, and how it runs for one choice at the body's interface."""

    body: str
    node: Node
    solved: Solved


def uses_of(search: Search) -> Iterator[Use]:
    """All nodes but inputs, each once for each choice at the interface of its body."""
    seen: set[tuple[str, Key]] = set()

    def visit(body: str, key: Key) -> Iterator[Use]:
        if (body, key) in seen:
            return
        seen.add((body, key))
        chosen = search.assignment(body, key)
        for node in search.plan.nodes(body):
            if node.op == "input":
                continue
            solved = chosen.nodes[node.name]
            if solved.inner is not None and node.body is not None:
                yield from visit(node.body, solved.inner)
            else:
                yield Use(body, node, solved)

    yield from visit("forward", ())
