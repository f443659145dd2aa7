"""Whether a placed plan is well typed: nothing of how it was found is used here.

Every node has to be one of its op's rows, every change of type a collective node, every type the same along every edge
and through every call. Types of gradients follow from those of values (see `placement`), so that a plan which passes
has the right gradients as well; `check_parameters` holds what becomes of those of parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..dsl.source import Span
from .check_parameters import parameter_faults
from .check_stages import stage_faults
from .node import Node, Objective, Tensor, Value
from .ops import OPS
from .ops.base import ShapeError
from .placement import AXES, CONVERSIONS, INVARIANT, PARTIAL, Axis, Place, Row, shard
from .plan import Plan
from .rows import rows_of
from .sharding.gradients import Carrying, carrying, differentiated
from .sharding.places import arguments, has_batch, joined, rank_view


def placement_faults(plan: Plan) -> Iterator[str]:
    """What is wrong with the types of a plan, with the place in the spec; nothing for a plan without types."""
    sizes: dict[Axis, int] = {"data": plan.layout.data, "tensor": plan.layout.tensor, "expert": plan.layout.expert}
    axes = [axis for axis in AXES if sizes[axis] > 1]
    if not any(node.placements for node in plan.nodes("forward")):
        yield from stage_faults(plan)
        return
    unplaced = list(_unplaced(plan, axes))
    yield from unplaced
    if unplaced:
        return
    carries = carrying(plan)
    for axis in axes:
        checker = _Checker(plan, axis, sizes[axis], carries)
        for body in plan.graphs:
            yield from checker.body(body)
        yield from checker.ends()
    for body in plan.graphs:
        yield from (fault for node in plan.nodes(body) for fault in _shape_faults(plan, body, node))
    yield from parameter_faults(plan, axes)
    yield from stage_faults(plan)


def _unplaced(plan: Plan, axes: Sequence[Axis]) -> Iterator[str]:
    for body in plan.graphs:
        for node in plan.nodes(body):
            known = [sorted(placement) for placement in node.placements]
            if known != [sorted(axes)] * len(node.outputs):
                yield f"{where(plan, body, node)}: has types on {known}, but the axes are {sorted(axes)}"
                continue
            for tensor, placement in zip(node.outputs, node.placements, strict=True):
                if any(place.dim is not None and place.dim >= len(tensor.shape) for place in placement.values()):
                    yield f"{where(plan, body, node)}: is {tensor}, which has no dimension {placement}"
            for parameter in node.parameters:
                if sorted(parameter.placement) != sorted(axes):
                    yield f"{where(plan, body, node)}: `{parameter.name}` has types on {sorted(parameter.placement)}"


def where(plan: Plan, body: str, node: Node) -> str:
    """A tensor as a reader of the spec knows it: its name, its block and its line."""
    return f"`{node.name}` in {plan.bodies[body].block if body in plan.bodies else body}, {node.span}"


class _Checker:
    """One axis of a plan."""

    def __init__(self, plan: Plan, axis: Axis, size: int, carries: Carrying) -> None:
        self.plan, self.axis, self.size, self.carries = plan, axis, size, carries

    def body(self, body: str) -> Iterator[str]:
        """Faults of the nodes of a body."""
        turned: dict[tuple[Value, Place], str] = {}
        for node in self.plan.nodes(body):
            place = where(self.plan, body, node)
            if node.op == "collective":
                if node.attrs["axis"] == self.axis:
                    key = (node.inputs[0], node.attrs["target"])
                    if key in turned:
                        yield f"{place}: `{key[0][0]}` becomes {key[1]} twice, in `{turned[key]}` as well"
                    turned[key] = node.name
                    yield from (f"{place}: {fault}" for fault in self._collective(body, node))
                elif (
                    self.axis == "expert" and node.attrs["axis"] == "data" and node.placements[0]["expert"] != INVARIANT
                ):
                    yield f"{place}: `{node.inputs[0][0]}` lies by expert, not by the samples of the data axis"
                elif node.placements[0][self.axis] != self.place(body, node.inputs[0]):
                    yield f"{place}: {self._is(body, node.inputs[0])}, but {node.placements[0][self.axis]} after it"
            elif node.op in ("input", "hold"):
                continue
            elif node.body is not None:
                yield from (f"{place}: {fault}" for fault in self._call(body, node))
            else:
                yield from (f"{place}: {fault}" for fault in self._op(body, node))

    def place(self, body: str, value: Value) -> Place:
        """The declared type of a value."""
        node: Node = self.plan.graphs[body].nodes[value[0]]["node"]
        return node.placements[value[1]][self.axis]

    def _span(self, body: str, value: Value) -> Span:
        node: Node = self.plan.graphs[body].nodes[value[0]]["node"]
        return node.span

    def _same(self, body: str, value: Value, a: Place, b: Place) -> bool:
        """I and R differ in the gradient only."""
        return a == b or (value not in self.carries[body] and {a.kind, b.kind} == {"I", "R"})

    def _is(self, body: str, value: Value) -> str:
        return f"`{value[0]}` is {self.place(body, value)} on the {self.axis} axis"

    def _collective(self, body: str, node: Node) -> Iterator[str]:
        source, target, value = node.attrs["source"], node.attrs["target"], node.inputs[0]
        found = self.place(body, value)
        if self.axis == "expert":
            yield "no collective node changes what lies by expert: `dispatch` and `combine` do"
        if source != found:
            yield f"{self._is(body, value)}, but this collective expects {source}"
        if (source.kind, target.kind) not in CONVERSIONS or source == target:
            yield f"no collective turns {source} into {target}"
        if node.placements[0][self.axis] != target:
            yield f"is {node.placements[0][self.axis]} on the {self.axis} axis, but {target} comes out"
        if value not in self.carries[body] and {source.kind, target.kind} == {"I", "R"}:
            yield f"`{value[0]}` has no gradient, for which I and R are one"
        if not list(self.plan.graphs[body].successors(node.name)) and (node.name, 0) not in self.plan.results[body]:
            yield f"nothing uses `{value[0]}` as {target}"
        tensor = self.plan.tensor(body, value)
        if joined(tensor, found, self.axis, self.size) != joined(node.outputs[0], target, self.axis, self.size):
            yield f"is {node.outputs[0]} as {target}, but `{value[0]}` is {tensor} as {found}"

    def _call(self, body: str, node: Node) -> Iterator[str]:
        assert node.body is not None
        inputs = [(inner.name, 0) for inner in self.plan.nodes(node.body) if inner.op == "input"]
        results = self.plan.results[node.body]
        for value, inner in zip(node.inputs, inputs, strict=False):
            wanted = self.place(node.body, inner)
            if not self._same(body, value, self.place(body, value), wanted):
                yield self._missing(body, value, [wanted], f"`{node.body}`")
        for i, value in enumerate(results):
            made = self.place(node.body, value)
            if not self._same(body, (node.name, i), node.placements[i][self.axis], made):
                span, found = self._span(node.body, value), node.placements[i][self.axis]
                yield f"is {found} on the {self.axis} axis, but `{node.body}` returns `{value[0]}`, {span}, as {made}"
        for inner, value in zip(inputs, results[: node.attrs.get("carried", 0)], strict=False):
            made, wanted = self.place(node.body, value), self.place(node.body, inner)
            if not self._same(node.body, inner, made, wanted):
                span = self._span(node.body, value)
                yield f"an iteration of `{node.body}` returns `{value[0]}`, {span}, as {made}, the next takes {wanted}"

    def _op(self, body: str, node: Node) -> Iterator[str]:
        rows = self._rows(body, node)
        ranked = sorted(rows, key=lambda row: len(list(self._differences(body, node, row))))
        if not ranked:
            yield f"`{node.op}` has no way to run on the {self.axis} axis"
            return
        faults = list(self._differences(body, node, ranked[0]))
        if faults:
            asked = [row for row in rows if len(list(self._differences(body, node, row))) == len(faults)]
            yield from self._explained(body, node, asked, faults)

    def _rows(self, body: str, node: Node) -> Sequence[Row]:
        inputs = [self.plan.tensor(body, value) for value in node.inputs]
        if node.op == "extern":
            if self.axis != "data":
                return [Row((INVARIANT,) * len(inputs), (), (INVARIANT,) * len(node.outputs))]
            sides = [tuple(shard(0) if has_batch(t) else Place("R") for t in side) for side in (inputs, node.outputs)]
            return [Row(sides[0], (), sides[1])]
        inputs = [self._before(t, self.place(body, v)) for t, v in zip(inputs, node.inputs, strict=True)]
        outputs = tuple(self._before(t, p[self.axis]) for t, p in zip(node.outputs, node.placements, strict=True))
        parameters = tuple(
            replace(p, shape=self._before(Tensor(p.shape), p.placement[self.axis]).shape) for p in node.parameters
        )
        attrs = {**node.attrs, **node.whole} if self.axis == "tensor" else node.attrs
        before = replace(node, outputs=outputs, parameters=parameters, attrs=attrs, placements=(), moves=())
        return rows_of(before, inputs, self.axis, self.size, self.plan.layout.sequence_parallel)

    def _before(self, tensor: Tensor, place: Place) -> Tensor:
        """The tensor before its split on this axis."""
        return rank_view(joined(tensor, place, self.axis, self.size), self.axis, self.size)

    def _differences(self, body: str, node: Node, row: Row) -> Iterator[tuple[str, int]]:
        """Where a node is not as in a row: ("input", 0) is its first input."""
        free = not differentiated(node) or not any(
            (node.name, i) in self.carries[body] for i in range(len(row.outputs))
        )
        for i, (value, wanted) in enumerate(zip(node.inputs, row.inputs, strict=True)):
            found = self.place(body, value)
            if not self._same(body, value, found, wanted) and not (free and {found.kind, wanted.kind} == {"I", "R"}):
                yield "input", i
        for i, (parameter, wanted) in enumerate(zip(node.parameters, row.parameters, strict=True)):
            found = parameter.placement[self.axis]
            if found != wanted and (parameter.trained or {found.kind, wanted.kind} != {"I", "R"}):
                yield "parameter", i
        for i, wanted in enumerate(row.outputs):
            if not self._same(body, (node.name, i), node.placements[i][self.axis], wanted):
                yield "output", i
        if [move for axis, move in node.moves if axis == self.axis] != list(row.moves):
            yield "move", 0

    def _explained(
        self, body: str, node: Node, rows: Sequence[Row], faults: Sequence[tuple[str, int]]
    ) -> Iterator[str]:
        for kind, i in faults:
            if kind == "input":
                yield self._missing(body, node.inputs[i], [row.inputs[i] for row in rows], f"`{node.op}`")
            elif kind == "parameter":
                found, wanted = node.parameters[i].placement[self.axis], rows[0].parameters[i]
                yield f"`{node.parameters[i].name}` is {found} on the {self.axis} axis, but `{node.op}` needs {wanted}"
            elif kind == "output":
                found = node.placements[i][self.axis]
                yield f"is {found} on the {self.axis} axis, but `{node.op}` makes {rows[0].outputs[i]} of its inputs"
            else:
                has = ", ".join(m.what for axis, m in node.moves if axis == self.axis) or "none"
                needs = ", ".join(move.what for move in rows[0].moves) or "none"
                yield f"moves inside `{node.op}` on the {self.axis} axis are: {has}; it needs: {needs}"

    def _missing(self, body: str, value: Value, wanted: Sequence[Place], user: str) -> str:
        """What a use asks for, and the collective that would give it."""
        found = self.place(body, value)
        kinds = list(dict.fromkeys(wanted))
        names = [CONVERSIONS[found.kind, w.kind].name for w in kinds if (found.kind, w.kind) in CONVERSIONS]
        remedy = f": `{names[0]}` is missing" if names and self.axis != "expert" else ""
        return f"{self._is(body, value)}, but {user} needs {' or '.join(map(str, kinds))}{remedy}"

    def ends(self) -> Iterator[str]:
        """Faults of the model's inputs and objectives."""
        for node in self.plan.nodes("forward"):
            if node.op == "input":
                wanted = shard(0) if self.axis == "data" and has_batch(node.outputs[0]) else INVARIANT
                if node.placements[0][self.axis] != wanted:
                    found = node.placements[0][self.axis]
                    place = where(self.plan, "forward", node)
                    yield f"{place}: an input of the model is {wanted} on the {self.axis} axis, not {found}"
        for objective in self.plan.objectives:
            asked = self._asked(objective)
            if not any(
                self._same("forward", objective.value, self.place("forward", objective.value), a) for a in asked
            ):
                user = f"the {objective.kind} `{objective.name}`"
                node = self.plan.graphs["forward"].nodes[objective.value[0]]["node"]
                fault = self._missing("forward", objective.value, asked, user)
                yield f"{where(self.plan, 'forward', node)}: {fault}"

    def _asked(self, objective: Objective) -> Sequence[Place]:
        """What starts the gradients: 1 on every rank; on the data axis the loss is the sum over ranks."""
        if self.axis != "data":
            return [INVARIANT]
        return {"loss": [PARTIAL], "metric": [PARTIAL], "exit": [shard(0), INVARIANT]}[objective.kind]


def _shape_faults(plan: Plan, body: str, node: Node) -> Iterator[str]:
    """The op makes of what one rank has what the plan says that it makes."""
    if node.op not in OPS:
        return
    op, inputs = OPS[node.op], tuple(plan.tensor(body, value) for value in node.inputs)
    try:
        made = op.infer(arguments(node, inputs, op.tensors), node.attrs)
    except ShapeError as error:
        yield f"{where(plan, body, node)}: {error.message}"
        return
    if made.outputs != node.outputs:
        yield f"{where(plan, body, node)}: is {node.outputs[0]}, but `{node.op}` makes {made.outputs[0]} of its inputs"
    if [p.shape for p in made.parameters] != [p.shape for p in node.parameters]:
        yield f"{where(plan, body, node)}: its parameters are not those that `{node.op}` has"
