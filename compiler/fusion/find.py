"""Where groups lie in a body: each op joins those that it reads from, as long as one kernel can run them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..node import Node, Tensor, Value
from ..plan import Plan
from .expression import Expr, Expressions
from .group import Group, Leaf, kind_in, parameters_of
from .meaning import GATES, MEANING, NORMS, ROWS, reduced_dimensions

LONGEST = 8_192
"""Longest row that a kernel with a reduction holds at once."""
LEAST = 8
MOST_TENSORS = 6
"""Most tiles that a kernel reads."""
ALONE = NORMS | {"normalize", "quick_gelu"}
"""Ops that are worth a kernel of their own."""


@dataclass
class Region:
    """Nodes by their index in the body; `mask` has a bit for each."""

    frame: Tensor
    members: list[int] = field(default_factory=list)
    mask: int = 0
    reductions: int = 0


@dataclass
class Body:
    """A body with what the search asks of it: ancestors as bits, users by index (`len(nodes)`: results)."""

    plan: Plan
    name: str
    nodes: tuple[Node, ...]
    at: dict[str, int]
    above: list[int]
    users: dict[str, set[int]]

    def tensor(self, value: Value) -> Tensor:
        """Type of a value."""
        return self.plan.tensor(self.name, value)


def regions_of(plan: Plan, name: str, taken: frozenset[str] = frozenset()) -> list[Group]:
    """The groups of a body without the nodes that others have."""
    body = _read(plan, name)
    regions: dict[int, Region] = {}
    for index, node in enumerate(body.nodes):
        if node.name in taken or not _takes(body, node):
            continue
        known = {id(r): r for u, _ in node.inputs if (r := regions.get(body.at[u])) is not None}
        region = _joined(body, index, list(known.values()))
        regions |= dict.fromkeys(region.members, region) if region is not None else {}
    kept = {id(r): r for r in regions.values()}.values()
    return [group for region in kept if (group := _group(body, region)) is not None]


def _read(plan: Plan, name: str) -> Body:
    nodes = plan.nodes(name)
    at = {node.name: index for index, node in enumerate(nodes)}
    above: list[int] = []
    users: dict[str, set[int]] = {node.name: set() for node in nodes}
    for index, node in enumerate(nodes):
        bits = 1 << index
        for source, _ in node.inputs:
            bits |= above[at[source]]
            users[source].add(index)
        above.append(bits)
    ends = [*plan.results[name], *(each.value for each in plan.objectives if name == "forward")]
    for source, _ in ends:
        users[source].add(len(nodes))
    return Body(plan, name, nodes, at, above, users)


def _takes(body: Body, node: Node) -> bool:
    """Whether a kernel can compute this op at all."""
    if node.op not in MEANING or node.moves or len(node.outputs) != 1 or node.outputs[0].kind != "float":
        return False
    inputs = [body.tensor(value) for value in node.inputs]
    if node.op in ROWS and reduced_dimensions(node, len(inputs[0].shape)) != (len(inputs[0].shape) - 1,):
        return False
    made = Expressions(LEAST)
    names = (*node.args, *parameters_of(node))
    return MEANING[node.op](made, node, {name: made.input(name, "tile") for name in names}) is not None


def _frame(body: Body, node: Node) -> Tensor | None:
    """The tiles of an op by itself: those of its input if it reduces, else of its result."""
    tensor = body.tensor(node.inputs[0]) if node.op in ROWS else node.outputs[0]
    columns = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    return tensor if isinstance(columns, int) and columns >= LEAST else None


def _joined(body: Body, index: int, producers: list[Region]) -> Region | None:
    """The region of a node: with all that it reads from, with one of them, or by itself."""
    for chosen in ([producers] if len(producers) > 1 else []) + [[r] for r in reversed(producers)] + [[]]:
        if (region := _tried(body, index, chosen)) is not None:
            return region
    return None


def _tried(body: Body, index: int, chosen: Sequence[Region]) -> Region | None:
    node = body.nodes[index]
    own = _frame(body, node)
    frame = chosen[0].frame if chosen else own
    if frame is None or any(region.frame.shape != frame.shape for region in chosen):
        return None
    if kind_in(frame, node.outputs[0]) is None or any(kind_in(frame, body.tensor(v)) is None for v in node.inputs):
        return None
    members = sorted([index, *(i for region in chosen for i in region.members)])
    reductions = (node.op in ROWS) + sum(region.reductions for region in chosen)
    region = Region(frame, members, sum(1 << i for i in members), reductions)
    return region if _runs(body, region) else None


def _runs(body: Body, region: Region) -> bool:
    """One reduction at most, nothing outside between two of its nodes, few enough tensors and columns."""
    columns = region.frame.shape[-1]
    if region.reductions > 1 or (region.reductions and isinstance(columns, int) and columns > LONGEST):
        return False
    outside = [v for i in region.members for v in body.nodes[i].inputs if not region.mask >> body.at[v[0]] & 1]
    if any(body.above[body.at[source]] & region.mask for source, _ in outside):
        return False
    tiles = {value for value in outside if kind_in(region.frame, body.tensor(value)) == "tile"}
    last = region.members[-1]
    late = all(u > last or region.mask >> u & 1 for i in region.members for u in body.users[body.nodes[i].name])
    return len(tiles) <= MOST_TENSORS and late


def _group(body: Body, region: Region) -> Group | None:
    nodes = [body.nodes[i] for i in region.members]
    inside = {node.name for node in nodes}
    outputs = tuple((n.name, 0) for n in nodes if any(not region.mask >> u & 1 for u in body.users[n.name]))
    biases = tuple(_biases(body, nodes, inside))
    if len(nodes) + len(biases) == 1 and nodes[0].op not in ALONE:
        return None
    if not any(kind_in(region.frame, body.tensor(v)) == "tile" for n in nodes for v in n.inputs if v[0] not in inside):
        return None
    inputs = tuple(_leaves(body, region, nodes, biases))
    names = tuple(node.name for node in nodes)
    return Group(body.name, "rows", _kind(nodes, biases), names, region.frame, inputs, outputs, biases)


def _biases(body: Body, nodes: Sequence[Node], inside: set[str]) -> Iterator[str]:
    """Linears that only this group reads, and whose offset can be added in it."""
    for source in dict.fromkeys(s for node in nodes for s, _ in node.inputs if s not in inside):
        node = body.nodes[body.at[source]]
        own = {body.at[name] for name in inside}
        if node.op == "linear" and node.attrs["bias"] and body.users[source] <= own:
            placed = node.parameters[1].placement.values()
            if all(place.kind != "P" for place in placed) and not node.moves:
                yield source


def _leaves(body: Body, region: Region, nodes: Sequence[Node], biases: Sequence[str]) -> Iterator[Leaf]:
    """Values, then parameters; names are unique."""
    inside, taken = {node.name for node in nodes}, {node.name for node in nodes}

    def free(name: str) -> str:
        number, found = 1, name
        while found in taken:
            number += 1
            found = f"{name}_{number}"
        taken.add(found)
        return found

    for value in dict.fromkeys(v for node in nodes for v in node.inputs if v[0] not in inside):
        kind = kind_in(region.frame, body.tensor(value))
        assert kind is not None
        yield Leaf(free(value[0]), kind, value)
    for name in biases:
        yield Leaf(free("bias"), "vector", None, name, "bias")
    for node in nodes:
        for parameter in parameters_of(node):
            yield Leaf(free(parameter), "vector", None, node.name, parameter)


def _kind(nodes: Sequence[Node], biases: Sequence[str]) -> str:
    ops = {node.op for node in nodes}
    made = {node.name: node.op for node in nodes}
    if ops & NORMS:
        norm = next(node for node in nodes if node.op in NORMS)
        before = norm.inputs[0][0] in made
        return "residual add + norm" if before and "add" in ops else "norm" if len(nodes) == 1 else "norm + scale"
    gated = any(n.op == "multiply" and any(made.get(s) in GATES for s, _ in n.inputs) for n in nodes)
    if gated:
        return "gate"
    return "bias + activation" if biases and len(nodes) == 1 else "chain"


def meaning(made: Expressions, group: Group, nodes: dict[str, Node]) -> tuple[dict[Leaf, Expr], list[Expr]]:
    """Expressions of the inputs and of the outputs."""
    inputs = {leaf: made.input(leaf.name, leaf.kind) for leaf in group.inputs}
    values: dict[Value, Expr] = {leaf.value: expr for leaf, expr in inputs.items() if leaf.value is not None}
    for leaf, expr in inputs.items():
        if leaf.owner in group.biases:
            product = (leaf.owner or "", 0)
            values[product] = made.named(made.add(values[product], expr), f"{leaf.owner}_sum")
    for name in group.nodes:
        node = nodes[name]
        given = {arg: values[value] for arg, value in zip(node.args, node.inputs, strict=True)}
        own = {leaf.parameter or "": expr for leaf, expr in inputs.items() if leaf.owner == name}
        result = MEANING[node.op](made, node, given | own)
        assert result is not None
        values[name, 0] = made.named(result, name)
    return inputs, [values[value] for value in group.outputs]
