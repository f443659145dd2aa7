"""A fusion group: nodes of one body that one kernel runs, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..dims import Dim
from ..node import Node, Tensor, Value
from .expression import Kind


@dataclass(frozen=True)
class Leaf:
    """What a group is given: a value of the body, or a parameter of one of its nodes (or of a linear before it)."""

    name: str
    kind: Kind
    value: Value | None = None
    owner: str | None = None
    parameter: str | None = None


@dataclass(frozen=True)
class Group:
    """`nodes` of a body in program order; where the last of them stands, the kernel runs.

    `frame` is the shape of its tiles, the last dimension being the columns; `outputs` are the values that others
    read, of which those with one column are rows. `biases` are linears before the group whose offset it adds.
    `family` names who finds and writes it; `kind` is what people call it: "residual add + norm", "gate", "chain".
    `narrow` has the format of outputs that only products read, which autocast would turn into it.
    `forward` and `backward` are (bytes that the ops move one by one, bytes that the kernels move), one micro-batch.
    `generated` tells whether the program runs it as a kernel of its own.
    """

    body: str
    family: str
    kind: str
    nodes: tuple[str, ...]
    frame: Tensor
    inputs: tuple[Leaf, ...]
    outputs: tuple[Value, ...]
    biases: tuple[str, ...] = ()
    forward: tuple[Dim, Dim] = (0, 0)
    backward: tuple[Dim, Dim] = (0, 0)
    narrow: Mapping[Value, str] = field(default_factory=dict)
    generated: bool = False

    @property
    def last(self) -> str:
        """The node in whose place the kernel runs."""
        return self.nodes[-1]

    @property
    def columns(self) -> int:
        """Elements of a row."""
        size = self.frame.shape[-1]
        assert isinstance(size, int)
        return size


def kind_in(frame: Tensor, tensor: Tensor) -> Kind | None:
    """How a value lies in the tiles of a frame; None where it does not."""
    shape = tensor.shape
    if tensor.kind != "float":
        return None
    if shape == frame.shape:
        return "tile"
    if shape == (*frame.shape[:-1], 1):
        return "row"
    return "vector" if shape == frame.shape[-1:] else None


def parameters_of(node: Node) -> tuple[str, ...]:
    """Names of the parameters that a node's expression reads."""
    return tuple(each.name for each in node.parameters)
