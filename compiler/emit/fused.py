"""Groups in the statements of a body: one call of a kernel where the last of its nodes stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..fusion.group import Group
from ..node import Node, Value


@dataclass(frozen=True)
class Fused(Node):
    """The last node of a group, in the place of all of them; its outputs are those of the group.

    `members` are nodes of the body by name.
    """

    group: Group = field(kw_only=True)
    members: Mapping[str, Node] = field(kw_only=True)

    @property
    def values(self) -> tuple[Value, ...]:
        """The values of the body that it gives."""
        return self.group.outputs


def contracted(nodes: Sequence[Node], groups: Iterable[Group]) -> list[Node]:
    """The nodes with those of each group as one; a group that is not here as a whole stays as it is."""
    here = {node.name: node for node in nodes}
    result = {node.name: node for node in nodes}
    for group in groups:
        names = (*group.biases, *group.nodes)
        if all(name in here for name in names):
            for name in names:
                del result[name]
            result[group.last] = _one(group, here)
    order = {node.name: index for index, node in enumerate(nodes)}
    return sorted(result.values(), key=lambda node: order[node.name])


def _one(group: Group, nodes: dict[str, Node]) -> Fused:
    last = nodes[group.last]
    values = [leaf.value for leaf in group.inputs if leaf.value is not None]
    inputs = tuple(nodes[v[0]].inputs[0] if v[0] in group.biases else v for v in values)
    outputs = tuple(nodes[name].outputs[output] for name, output in group.outputs)
    plain = {name: getattr(last, name) for name in ("span", "attrs", "label", "share", "bound", "dtypes")}
    return Fused(last.name, last.op, inputs, outputs, **plain, group=group, members=nodes)


def values_of(node: Node) -> tuple[Value, ...]:
    """The values that a statement makes."""
    if isinstance(node, Fused):
        return node.values
    return tuple((node.name, output) for output in range(len(node.outputs)))


def kernel_call(node: Fused, name: str, args: Sequence[str], callee: Callable[[Node], str]) -> str:
    """The call of a kernel with its tensors, and the parameters of the modules that it takes the place of."""
    group, values = node.group, iter(args)
    texts = []
    for leaf in group.inputs:
        if leaf.value is None:
            texts.append(f"{callee(node.members[str(leaf.owner)])}.{leaf.parameter}")
        elif leaf.value[0] in group.biases:
            texts.append(f"F.linear({next(values)}, {callee(node.members[leaf.value[0]])}.weight)")
        else:
            texts.append(next(values))
    return f"kernels.{name}({', '.join(texts)})"
