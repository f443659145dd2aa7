"""The plan with a placement written into it: local sizes, types, and a collective node at each change of type."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from ...dsl.source import Span
from ..node import Body, Node, Objective, Parameter, Tensor, Value
from ..ops import OPS
from ..plan import Plan, graph_of
from .eliminate import Key
from .places import Code, arguments, conversion, part, place_of, whole
from .search import Assignment, Search, Solved

ENDINGS: Final = {
    "all_reduce": "reduced",
    "all_reduce_both": "reduced",
    "reduce_scatter": "scattered",
    "all_gather": "gathered",
    "all_gather_both": "gathered",
    "all_to_all": "exchanged",
    "copy": "copied",
    "split": "part",
    "split_both": "part",
    "share": "share",
}
"""How the name of a converted value ends, by the function that converts it."""


def placed(search: Search) -> Plan:
    """The plan with the cheapest placement on the axis of the search."""
    writer = _Writer(search)
    writer.body("forward", ())
    plan = search.plan
    return replace(
        plan,
        graphs={name: graph_of(body) for name, body in writer.bodies.items()},
        results={name: body.results for name, body in writer.bodies.items()},
        bodies=writer.bodies,
        objectives=tuple(writer.objectives),
    )


@dataclass
class _Writer:
    """Bodies made so far, each after those that it runs; a body used with several types becomes several."""

    search: Search
    bodies: dict[str, Body] = field(default_factory=dict)
    objectives: list[Objective] = field(default_factory=list)
    names: dict[tuple[str, Key], str] = field(default_factory=dict)

    def body(self, name: str, key: Key) -> str:
        """The name of the body for a choice at its interface; made when first asked for."""
        if (name, key) not in self.names:
            taken = {*self.search.plan.graphs, *self.names.values()}
            first = name not in self.names.values()
            self.names[name, key] = fresh = name if first else _unique(name, taken)
            made = _Rewriter(self, name, self.search.assignment(name, key)).rewrite(fresh)
            self.bodies[fresh] = made
        return self.names[name, key]


class _Rewriter:
    """Writes one body."""

    def __init__(self, writer: _Writer, body: str, chosen: Assignment) -> None:
        self.writer, self.search, self.old, self.chosen = writer, writer.search, body, chosen
        self.plan = writer.search.plan
        self.taken = {node.name for node in self.plan.nodes(body)}
        self.nodes: list[Node] = []
        self.tensors: dict[Value, Tensor] = {}
        self.available: dict[tuple[Value, Code], Value] = {}

    def rewrite(self, name: str) -> Body:
        """The body under its new name."""
        inputs = iter(self.chosen.inputs)
        for node in self.plan.nodes(self.old):
            if node.op == "input":
                self._add(self._typed(node, (next(inputs),)))
            else:
                self._node(node, self.chosen.nodes[node.name])
        results = self._results()
        body = self.plan.bodies[self.old]
        return replace(body, name=name, nodes=tuple(self.nodes), results=results)

    def _node(self, node: Node, solved: Solved) -> None:
        inputs = tuple(self._get(v, c, node.span) for v, c in zip(node.inputs, solved.inputs, strict=True))
        node = self._typed(replace(node, inputs=inputs), solved.outputs)
        if solved.inner is not None:
            assert node.body is not None
            node = replace(node, body=self.writer.body(node.body, solved.inner))
        elif solved.choice is not None:
            node = self._local(node, solved)
        self._add(node)

    def _typed(self, node: Node, codes: tuple[Code, ...]) -> Node:
        axis, size = self.search.axis, self.search.size
        outputs = tuple(part(whole(t, axis, size), c, axis, size) for t, c in zip(node.outputs, codes, strict=True))
        before = node.placements or ({},) * len(codes)
        placements = tuple({**p, axis: place_of(c)} for p, c in zip(before, codes, strict=True))
        return replace(node, outputs=outputs, placements=placements)

    def _local(self, node: Node, solved: Solved) -> Node:
        assert solved.choice is not None
        axis, size = self.search.axis, self.search.size
        parameters = tuple(
            self._parameter(p, c) for p, c in zip(node.parameters, solved.choice.parameters, strict=True)
        )
        moves = (*node.moves, *((axis, move) for move in solved.choice.row.moves))
        node = replace(node, parameters=parameters, moves=moves)
        if node.op not in OPS:
            return node
        attrs = OPS[node.op].local(node, {axis: size})
        before = {name: value for name, value in node.attrs.items() if attrs[name] != value}
        node = replace(node, attrs=attrs, whole={**before, **node.whole})
        self._agrees(node)
        return node

    def _parameter(self, parameter: Parameter, code: Code) -> Parameter:
        axis, size = self.search.axis, self.search.size
        shape = part(Tensor(parameter.shape), code, axis, size).shape
        return replace(parameter, shape=shape, placement={**parameter.placement, axis: place_of(code)})

    def _agrees(self, node: Node) -> None:
        """The op makes of its local inputs what the types say."""
        op = OPS[node.op]
        inferred = op.infer(arguments(node, tuple(self.tensors[v] for v in node.inputs), op.tensors), node.attrs)
        shapes = [p.shape for p in inferred.parameters]
        assert inferred.outputs == node.outputs, f"{node.name}: {inferred.outputs} is not {node.outputs}"
        assert shapes == [p.shape for p in node.parameters], f"{node.name}: parameters {shapes}"

    def _add(self, node: Node) -> None:
        self.nodes.append(node)
        for i, tensor in enumerate(node.outputs):
            value = (node.name, i)
            self.tensors[value] = tensor
            self.available[value, self._made(value)] = value

    def _made(self, value: Value) -> Code:
        return self.chosen.made.get(value, "")

    def _get(self, value: Value, code: Code, span: Span) -> Value:
        """The value in a type; the collective that makes it stands before its first use."""
        if (value, code) not in self.available:
            source = next(a for a, b in self.chosen.conversions[value] if b == code)
            given = self._get(value, source, span)
            self.available[value, code] = self._collective(value, given, source, code, span)
        return self.available[value, code]

    def _collective(self, value: Value, given: Value, source: Code, target: Code, span: Span) -> Value:
        axis = self.search.axis
        made = self.plan.graphs[self.old].nodes[value[0]]["node"]
        found = conversion(source, target)
        if found is None:  # I and R of a value without a gradient
            return given
        base = made.bound[value[1]] if made.bound else value[0]
        name = _unique(f"{base}_{ENDINGS[found.name]}", self.taken)
        self.taken.add(name)
        before = next(node for node in self.nodes if node.name == given[0])
        node = Node(
            name,
            "collective",
            (given,),
            (self.plan.tensor(self.old, value),),
            span,
            {"axis": axis, "source": place_of(source), "target": place_of(target)},
            args=("x",),
            dtypes=(self.search.format(self.old, value),),
            placements=(before.placements[given[1]],),
        )
        node = self._typed(node, (target,))
        self.nodes.append(node)
        self.tensors[name, 0] = node.outputs[0]
        return name, 0

    def _results(self) -> tuple[Value, ...]:
        results = self.plan.results[self.old]
        if self.old != "forward":
            codes = zip(results, self.chosen.results, strict=True)
            return tuple(self._get(value, code, self._span(value)) for value, code in codes)
        final: dict[Value, Value] = {}
        for objective, code in zip(self.plan.objectives, self.chosen.results, strict=True):
            value = self._get(objective.value, code, objective.span)
            final.setdefault(objective.value, value)
            self.writer.objectives.append(replace(objective, value=value))
        return tuple(final.get(value, value) for value in results)

    def _span(self, value: Value) -> Span:
        span: Span = self.plan.graphs[self.old].nodes[value[0]]["node"].span
        return span


def _unique(name: str, taken: set[str]) -> str:
    number, fresh = 1, name
    while fresh in taken:
        number += 1
        fresh = f"{name}_{number}"
    return fresh
