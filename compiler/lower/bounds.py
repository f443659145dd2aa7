"""Sizes in numbers: no tensor of this run is empty, and none is beyond what a machine can address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...dsl.source import Span
from ..dims import Dim, product, substitute
from ..node import Body, Node
from .inputs import sizes
from .report import in_library
from .state import State

MOST_ELEMENTS: Final = 2**60
"""At 8 bytes each this is all that 63-bit addresses reach."""


def check_bounds(state: State, forward: Body) -> None:
    """An error for the first op that makes or owns an empty tensor or one of impossible size; others follow of it."""
    known = sizes(state.spec)
    for _, node, place in nodes_with_places(state, forward):
        for shape in (*(t.shape for t in node.outputs), *(p.shape for p in node.parameters)):
            reason = _reason(shape, known)
            if reason is not None:
                message = f"`{node.name if node.op == 'input' else node.label or node.op}` {reason}"
                state.report.error("E0538", message, place, "change the sizes that lead to it")
                return


def nodes_with_places(
    state: State, body: Body, outside: Span | None = None, seen: set[str] | None = None
) -> Iterator[tuple[Body, Node, Span]]:
    """Nodes of a body and of those it runs, each body once; with each the place in the user's own text."""
    seen = set() if seen is None else seen
    seen.add(body.name)
    for node in body.nodes:
        place = outside if outside is not None and in_library(node.span) else node.span
        yield body, node, place
        if node.body is not None and node.body not in seen:
            yield from nodes_with_places(state, state.bodies[node.body], place, seen)


def _reason(shape: tuple[Dim, ...], known: dict[str, int]) -> str | None:
    found = [substitute(dim, known) for dim in shape]
    for dim, size in zip(shape, found, strict=True):
        if isinstance(size, int) and size < 1:
            given = ", ".join(f"{name} = {value:,}" for name, value in known.items() if name in str(dim))
            return f"has a tensor of size {size}" + (f": `{dim}` with {given}" if given else "")
    elements = product(tuple(found))
    if isinstance(elements, int) and elements > MOST_ELEMENTS:
        return "has a tensor of more than 2^60 values, which no machine can address"
    return None
