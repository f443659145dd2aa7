"""Whole numbers from the data: each must have its row in a table, and its class among the logits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ...dsl.source import Span
from ..dims import substitute
from ..node import Body, Node, Tensor, Value
from .inputs import classes, sizes
from .report import in_library
from .state import State

KEEP: Final = frozenset({"rearrange", "slice", "select", "transpose", "flatten", "expand", "stop_gradient"})
"""Ops that move numbers without changing them."""
Counts = tuple[int | None, ...]


def check_ranges(state: State, forward: Body) -> None:
    """An error where an input has more different numbers than the table or the logits that it meets."""
    inputs = [node.outputs[0] for node in forward.nodes if node.op == "input"]
    counts = [classes(state.spec, tensor) if tensor.kind == "int" else None for tensor in inputs]
    _Walk(state).body(forward, tuple(counts), None)


@dataclass
class _Walk:
    """Follows the numbers of inputs through the bodies, each body once for the same counts."""

    state: State
    done: dict[tuple[str, Counts], Counts] = field(default_factory=dict)

    def body(self, body: Body, given: Counts, outside: Span | None) -> Counts:
        """How many different numbers each result may have; None where that is not known."""
        key = (body.name, given)
        if key in self.done:
            return self.done[key]
        counts: dict[Value, int | None] = {}
        tensors: dict[Value, Tensor] = {}
        rest = iter(given)
        for node in body.nodes:
            place = outside if outside is not None and in_library(node.span) else node.span
            tensors |= {(node.name, index): tensor for index, tensor in enumerate(node.outputs)}
            taken = tuple(counts.get(value) for value in node.inputs)
            if node.op == "input":
                found: Counts = (next(rest),)
            elif node.body is not None:
                carried = node.attrs["carried"] if node.op == "repeat" else 0
                found = self.body(self.state.bodies[node.body], (*(None,) * carried, *taken[carried:]), place)
            else:
                self._check(node, taken, tensors, place)
                found = self._positions(node) if node.op == "positions" else taken[:1] if node.op in KEEP else ()
            counts |= {(node.name, index): count for index, count in enumerate(found)}
        self.done[key] = tuple(counts.get(value) for value in body.results)
        return self.done[key]

    def _positions(self, node: Node) -> Counts:
        length = substitute(node.outputs[0].shape[-1], sizes(self.state.spec))
        return (length if isinstance(length, int) else None,)

    def _check(self, node: Node, taken: Counts, tensors: dict[Value, Tensor], place: Span) -> None:
        if node.op == "embedding":
            there, count, what = node.attrs["size"], taken[0], "rows"
        elif node.op == "cross_entropy":
            there, count, what = tensors[node.inputs[0]].shape[-1], taken[1], "classes"
            count = count - 1 if count is not None and node.attrs["ignore"] == count - 1 else count
        else:
            return
        if count is not None and isinstance(there, int) and there < count:
            message = f"`{node.op}` has {there:,} {what}, but is given {count:,} different numbers"
            help = "take the size from the data: `data.vocab`, `data.classes` or `data.sequence`"
            self.state.report.error("E0539", message, place, help)
