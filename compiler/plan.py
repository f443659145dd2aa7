"""The plan: one networkx graph per body; the only form that passes and templates see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import networkx as nx

from ..dsl.diagnostics import Diagnostic
from .fusion.group import Group
from .layout import Layout
from .masks import Counts
from .node import Body, Node, Objective, Sync, Tensor, Value

if TYPE_CHECKING:
    Graph = nx.MultiDiGraph[str]


@dataclass(frozen=True)
class Stage:
    """One part of the pipeline: `body` runs it. Stage `i` is on pipeline rank `rank`.

    `receives` and `sends` name the values that cross to it and from it, in order: the first inputs of its body, and its
    results; their types, local shapes and formats are those of the body. The other inputs of the body are the model's
    `inputs` of those names. The results of the last stage are the losses and metrics of `Plan.objectives`, in their
    order (exits are left out).

    Equal stages share a body: `iterations` gives the first iteration of each repeat of it, by label, and how many there
    are. A label in a stage may be a path, "encoder.layers": that of the calls around it that were written out.
    """

    index: int
    rank: int
    body: str
    receives: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    iterations: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Bodies by name ("forward" is the model, "stage_0" ... its parts).

    `graphs[name]` is a MultiDiGraph in program order: node attribute "node" is the `Node`, an edge u -> v with key k
    carries `output` of u into input k of v. Graph attribute "body" is the `Body` without its nodes' changes.
    `layout` is the mesh, `syncs` what keeps parameters in step (see `Sync`); the pipeline pass fills `stages`.
    `sizes` binds the symbolic sizes of this run (B, S); `targets` are the inputs that the prediction does not need.
    `counts` are the masks of losses and metrics, which the sharding pass finds before it splits anything.
    `groups` are the nodes that one kernel can run, which the pass `fuse` finds last.
    `findings` is the advice of passes; an error is a `Refused`.
    """

    name: str
    graphs: dict[str, Graph]
    results: dict[str, tuple[Value, ...]]
    objectives: tuple[Objective, ...]
    bodies: dict[str, Body]
    sizes: dict[str, int] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    layout: Layout = field(default_factory=Layout)
    syncs: tuple[Sync, ...] = ()
    stages: tuple[Stage, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    counts: Counts = field(default_factory=Counts)
    groups: tuple[Group, ...] = ()

    @property
    def roots(self) -> tuple[str, ...]:
        """Bodies that nothing calls: the model, and the stages of its pipeline."""
        return "forward", *dict.fromkeys(stage.body for stage in self.stages)

    def nodes(self, body: str) -> tuple[Node, ...]:
        """The nodes of a body in program order."""
        graph = self.graphs[body]
        return tuple(graph.nodes[name]["node"] for name in graph)

    def rewrite(self, change: Callable[[str, Node], Node]) -> Plan:
        """The plan with `change(body, node)` in the place of each node; edges stay as they are."""
        graphs = {}
        for body, graph in self.graphs.items():
            copied: Graph = graph.copy()
            for name in copied:
                copied.nodes[name]["node"] = change(body, copied.nodes[name]["node"])
            graphs[body] = copied
        return replace(self, graphs=graphs)

    def tensor(self, body: str, value: Value) -> Tensor:
        """Type of a value."""
        node: Node = self.graphs[body].nodes[value[0]]["node"]
        return node.outputs[value[1]]


def build_plan(
    name: str,
    bodies: dict[str, Body],
    objectives: tuple[Objective, ...],
    sizes: dict[str, int],
    targets: tuple[str, ...] = (),
    layout: Layout | None = None,
) -> Plan:
    """The plan of lowered bodies."""
    graphs = {body.name: graph_of(body) for body in bodies.values()}
    results = {body.name: body.results for body in bodies.values()}
    return Plan(name, graphs, results, objectives, bodies, sizes, targets, layout or Layout())


def graph_of(body: Body) -> Graph:
    """The graph of a body."""
    graph: Graph = nx.MultiDiGraph(name=body.name, body=body)
    for node in body.nodes:
        graph.add_node(node.name, node=node)
        for index, (source, output) in enumerate(node.inputs):
            graph.add_edge(source, node.name, key=index, output=output)
    return graph
