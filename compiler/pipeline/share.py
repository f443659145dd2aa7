"""Parameters that several stages use: each holds a copy under the owner's name, and their gradients are added up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ...dsl.diagnostics import Diagnostic
from ...dsl.source import Span
from ..lower.ownership import UP, flat
from ..node import Cost, Node, Sync
from ..plan import Plan, Stage
from ..refused import Refused
from .flatten import Line, Step

HELP = "give the shared part a label of its own in `forward`, before the repeat"


def resolve(step: Step, nodes: Sequence[Node]) -> tuple[str, ...]:
    """`Node.share` as it reads in a stage: the label of a node there, and the steps inside it."""
    path = _absolute(step, step.node.share or ())
    owner = _owner(path, nodes)
    assert owner is not None, "what a stage shares it owns or holds"
    return str(owner.label), *path[len(_parts(owner)) :]


def held(plan: Plan, line: Line, steps: Sequence[tuple[Step, range]]) -> list[Node]:
    """A node for each part that these steps share with another stage: it owns the parameters, and does not run.

    `steps` are those of the stage, each with its iterations there.
    """
    own = {f"{step.prefix}{step.node.label}": iterations for step, iterations in steps if step.node.label}
    nodes = [_labelled(step) for step, _ in steps if step.node.label]
    found: dict[str, Node] = {}
    for step, _ in steps:
        for path, span in _shared(plan, step):
            name = ".".join(path)
            owner = _owner(path, nodes)
            if name in found or (owner is not None and _here(path, owner, own[str(owner.label)])):
                continue
            if any(part.isdigit() for part in path):
                raise Refused(
                    Diagnostic("E0406", f"`{name}` is used on another stage of the pipeline than its own", span, HELP)
                )
            target = _target(plan, line, path)
            found[name] = Node(
                f"held_{'_'.join(path)}", "hold", (), (), target.span, attrs={"node": target},
                parameters=target.parameters, label=name, body=target.body,
                cost=Cost(parameters=target.cost.parameters if target.cost else 0),
            )  # fmt: skip
    return list(found.values())


def _labelled(step: Step) -> Node:
    return replace(step.node, label=f"{step.prefix}{step.node.label}")


def _here(path: tuple[str, ...], owner: Node, iterations: range) -> bool:
    """Whether the stage runs the iteration that a path leads into."""
    return owner.op != "repeat" or int(path[len(_parts(owner))]) in iterations


def _parts(node: Node) -> tuple[str, ...]:
    return tuple(node.label.split(".")) if node.label else ()


def _absolute(step: Step, share: tuple[str, ...]) -> tuple[str, ...]:
    return *step.prefix.split(".")[:-1], *share


def _owner(path: tuple[str, ...], nodes: Iterable[Node]) -> Node | None:
    """The node that owns the parameters of a path of labels."""
    for node in nodes:
        label = _parts(node)
        if label and path[: len(label)] == label and (node.op in ("call", "repeat", "hold") or path == label):
            return node
    return None


def _shared(plan: Plan, step: Step) -> Iterator[tuple[tuple[str, ...], Span]]:
    """Absolute paths that a step shares: its own, and those that its iterations take from around the repeat."""
    if step.node.share is not None:
        yield _absolute(step, step.node.share), step.node.span
    yield from _risen(plan, step, step.node, 1)


def _risen(plan: Plan, step: Step, node: Node, depth: int) -> Iterator[tuple[tuple[str, ...], Span]]:
    for inner in plan.nodes(str(node.body)) if node.op == "repeat" else ():
        share = inner.share or ()
        if sum(part == UP for part in share) == depth:
            path = _absolute(step, share[depth:])
            if step.prefix:
                message = f"`{'.'.join(path)}` is shared inside a repeat of a block, which the pipeline cannot cut"
                raise Refused(Diagnostic("E0406", message, inner.span, "write the repeat in `forward`"))
            yield path, inner.span
        yield from _risen(plan, step, inner, depth + 1)


def _target(plan: Plan, line: Line, path: tuple[str, ...]) -> Node:
    """The node that a path of labels names."""
    owner = _owner(path, [_labelled(step) for step in line.steps if step.node.label])
    assert owner is not None, f"nothing owns {path}"
    node = owner
    for part in path[len(_parts(owner)) :]:
        node = next(inner for inner in plan.nodes(str(node.body)) if inner.label == part)
    return node


def tied(plan: Plan, stages: Sequence[Stage]) -> tuple[Sync, ...]:
    """A `Sync` on the axis "pipeline" for each parameter of each stage that holds it with others."""
    holders: dict[str, list[int]] = {}
    rows: dict[tuple[str, str, str], str] = {}
    for stage in stages:
        for node in plan.nodes(stage.body):
            if node.label is None or node.op == "repeat":
                continue
            for name in flat(plan.bodies, node.parameters, node.body) or {}:
                path = f"{node.label}.{name}"
                holders.setdefault(path, []).append(stage.index)
                rows[stage.body, node.name, name] = path
    return tuple(
        Sync(
            body, node, name, "pipeline", "all_reduce", f"stages {_listed(holders[path])} use it", tuple(holders[path])
        )
        for (body, node, name), path in rows.items()
        if len(holders[path]) > 1
    )


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(", ".join(map(str, numbers)).rsplit(", ", 1))
