"""Every way to break one collective of a placed plan: deleted, doubled, moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dskc.compiler.node import Body, Node, Sync, Value
from dskc.compiler.placement import Move
from dskc.compiler.plan import Plan, Stage, graph_of


@dataclass(frozen=True)
class Mutant:
    """A broken plan; a message about it has to hold one of `names` and one of `places` in the spec."""

    what: str
    plan: Plan
    names: tuple[str, ...]
    places: tuple[str, ...]
    sync: bool = False


def mutants(plan: Plan) -> Iterator[Mutant]:
    """All mutants of a plan."""
    for body in plan.graphs:
        for node in plan.nodes(body):
            if node.op == "collective":
                yield from _of_collective(plan, body, node)
            yield from _of_moves(plan, body, node)
    for sync in plan.syncs:
        yield from _of_sync(plan, sync)
    for stage in plan.stages:
        yield from _of_edges(plan, stage)


def _of_collective(plan: Plan, body: str, node: Node) -> Iterator[Mutant]:
    source, made = node.inputs[0], (node.name, 0)
    nodes = plan.nodes(body)
    places = tuple({str(node.span), *(str(each.span) for each in nodes if made in each.inputs)})

    def mutant(what: str, changed: list[Node], redirect: Callable[[Value], Value], *names: str) -> Mutant:
        text = f"{what} {node.name} of {body}"
        return Mutant(text, _with(plan, body, changed, redirect), (source[0], node.name, *names), places)

    def without(value: Value) -> Value:
        return source if value == made else value

    rest = [_reading(each, without) for each in nodes if each.name != node.name]
    yield mutant("deleted", rest, without)

    again = replace(node, name=f"{node.name}_again")

    def second(value: Value) -> Value:
        return (again.name, 0) if value == made else value

    after = [_reading(each, second) if each.name != node.name else each for each in nodes]
    at = nodes.index(node) + 1
    yield mutant("doubled", [*after[:at], replace(again, inputs=(made,)), *after[at:]], second, again.name)
    readers = [each for each in nodes if made in each.inputs]
    last = readers[-1].name if len(readers) > 1 else ""
    after = [_reading(each, second) if each.name == last else each for each in nodes]
    at = nodes.index(node)
    yield mutant("repeated", [*after[:at], again, *after[at:]], lambda value: value, again.name)
    other = "data" if node.attrs["axis"] == "tensor" else "tensor"
    turned = replace(node, attrs={**node.attrs, "axis": other})
    yield mutant(f"on the {other} axis:", [turned if each is node else each for each in nodes], lambda value: value)
    yield from _before(nodes, node, mutant)
    yield from _after(nodes, node, mutant)
    yield from _elsewhere(nodes, node, mutant)


MakesMutant = Callable[..., Mutant]


def _before(nodes: tuple[Node, ...], node: Node, mutant: MakesMutant) -> Iterator[Mutant]:
    """Before the node that makes its input: that one reads what the collective makes."""
    source, made = node.inputs[0], (node.name, 0)
    maker = next(each for each in nodes if each.name == source[0])
    if not maker.inputs or len(maker.outputs) > 1:
        return
    tensor = next(each for each in nodes if each.name == maker.inputs[0][0])
    first = replace(node, inputs=(maker.inputs[0],), outputs=(tensor.outputs[maker.inputs[0][1]],))
    moved = replace(maker, inputs=(made, *maker.inputs[1:]))

    def redirect(value: Value) -> Value:
        return source if value == made else value

    changed: list[Node] = []
    for each in nodes:
        if each is maker:
            changed += [first, moved]
        elif each is not node:
            changed.append(_reading(each, redirect))
    yield mutant("before its neighbour:", changed, redirect, maker.name, maker.inputs[0][0])


def _after(nodes: tuple[Node, ...], node: Node, mutant: MakesMutant) -> Iterator[Mutant]:
    """After the first node that reads it: all readers of that one read the collective."""
    source, made = node.inputs[0], (node.name, 0)
    user = next((each for each in nodes if made in each.inputs), None)
    if user is None or len(user.outputs) > 1:
        return
    late = replace(node, inputs=((user.name, 0),), outputs=user.outputs)

    def redirect(value: Value) -> Value:
        return source if value == made else made if value == (user.name, 0) else value

    changed: list[Node] = []
    for each in nodes:
        if each is user:
            changed += [_reading(each, lambda value: source if value == made else value), late]
        elif each is not node:
            changed.append(_reading(each, redirect))
    yield mutant("after its neighbour:", changed, redirect, user.name)


def _elsewhere(nodes: tuple[Node, ...], node: Node, mutant: MakesMutant) -> Iterator[Mutant]:
    """On another value of the body: the readers of that one read the collective, its own read what it read."""
    source, made = node.inputs[0], (node.name, 0)
    others = [each for each in nodes if each.name not in (source[0], node.name) and len(each.outputs) == 1]
    users = [each for each in others if any((each.name, 0) in reader.inputs for reader in nodes)]
    if not users:
        return
    maker = users[0]
    new = replace(node, name=f"{node.name}_moved", inputs=((maker.name, 0),), outputs=maker.outputs)

    def redirect(value: Value) -> Value:
        return source if value == made else (new.name, 0) if value == (maker.name, 0) else value

    changed: list[Node] = []
    for each in nodes:
        if each is not node:
            changed.append(_reading(each, redirect))
        if each is maker:
            changed.append(new)
    yield mutant("on another value:", changed, redirect, new.name, maker.name)


def _of_moves(plan: Plan, body: str, node: Node) -> Iterator[Mutant]:
    for i, (axis, move) in enumerate(node.moves):
        others = (*node.moves[:i], *node.moves[i + 1 :])
        changes: dict[str, tuple[tuple[str, Move], ...]] = {
            "deleted": others,
            "doubled": (*node.moves, (axis, move)),
        }
        for other in ("data", "tensor", "expert"):
            if other != axis:
                changes[f"on the {other} axis:"] = (*node.moves[:i], (other, move), *node.moves[i + 1 :])
        for what, moves in changes.items():
            yield _rewritten(plan, body, {node.name: replace(node, moves=moves)}, f"{what} move of {node.name}", node)
        receiver = next(
            (n for n in plan.nodes(body) if n.op not in ("input", "call", "repeat", "collective") and n is not node),
            None,
        )
        if receiver is not None:
            changed = {
                node.name: replace(node, moves=others),
                receiver.name: replace(receiver, moves=(*receiver.moves, (axis, move))),
            }
            yield _rewritten(plan, body, changed, f"move of {node.name} in {receiver.name}", node)


def _rewritten(plan: Plan, body: str, changed: dict[str, Node], what: str, node: Node) -> Mutant:
    made = plan.rewrite(lambda name, each: changed.get(each.name, each) if name == body else each)
    return Mutant(what, made, (node.name,), (str(node.span),))


def _of_sync(plan: Plan, sync: Sync) -> Iterator[Mutant]:
    rest = tuple(each for each in plan.syncs if each is not sync)
    node = plan.graphs[sync.body].nodes[sync.node]["node"]
    text = f"{sync.parameter} of {sync.node} on {sync.axis}"

    def mutant(what: str, syncs: tuple[Sync, ...]) -> Mutant:
        return Mutant(f"{what} {text}", replace(plan, syncs=syncs), (sync.node,), (str(node.span),), sync=True)

    yield mutant("deleted", rest)
    yield mutant("doubled", (*plan.syncs, sync))
    for axis in ("data", "tensor", "replica"):
        if axis != sync.axis:
            yield mutant(f"on the {axis} axis:", (*rest, replace(sync, axis=axis)))
    kind = replace(sync, kind="shard" if sync.kind == "all_reduce" else "all_reduce")
    yield mutant("of the other kind:", (*rest, kind))
    receiver = next((each for each in plan.syncs if (each.body, each.node) != (sync.body, sync.node)), None)
    if receiver is not None:
        moved = replace(sync, body=receiver.body, node=receiver.node, parameter=receiver.parameter)
        yield mutant("of another parameter:", (*rest, moved))


def _of_edges(plan: Plan, stage: Stage) -> Iterator[Mutant]:
    for name, value in zip(stage.sends, plan.results[stage.body], strict=False):
        line = str(plan.graphs[stage.body].nodes[value[0]]["node"].span)
        without = tuple(each for each in stage.sends if each != name)
        for what, sends in (("deleted", without), ("doubled", (*stage.sends, name))):
            yield _staged(plan, replace(stage, sends=sends), f"{what} {name} sent by stage {stage.index}", name, line)
        after = plan.stages[stage.index + 1]
        receives = tuple(each for each in after.receives if each != name)
        for what, received in (("deleted", receives), ("doubled", (*after.receives, name))):
            text = f"{what} {name} received by stage {after.index}"
            yield _staged(plan, replace(after, receives=received), text, name, line)

    if len(stage.sends) > 1:
        name, value = stage.sends[0], plan.results[stage.body][0]
        line = str(plan.graphs[stage.body].nodes[value[0]]["node"].span)
        yield _staged(plan, replace(stage, sends=stage.sends[::-1]), f"order of stage {stage.index}", name, line)


def _staged(plan: Plan, stage: Stage, what: str, name: str, line: str) -> Mutant:
    stages = (*plan.stages[: stage.index], stage, *plan.stages[stage.index + 1 :])
    return Mutant(what, replace(plan, stages=stages), (name,), (line,))


def _reading(node: Node, redirect: Callable[[Value], Value]) -> Node:
    return replace(node, inputs=tuple(map(redirect, node.inputs)))


def _with(plan: Plan, body: str, nodes: list[Node], redirect: Callable[[Value], Value]) -> Plan:
    """The plan with other nodes in a body; its results and objectives are redirected."""
    results = tuple(map(redirect, plan.results[body]))
    made: Body = replace(plan.bodies[body], nodes=tuple(nodes), results=results)
    objectives = tuple(replace(o, value=redirect(o.value)) if body == "forward" else o for o in plan.objectives)
    return replace(
        plan,
        graphs=plan.graphs | {body: graph_of(made)},
        results=plan.results | {body: results},
        bodies=plan.bodies | {body: made},
        objectives=objectives,
    )
