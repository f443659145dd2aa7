"""The record that describes an op: everything the compiler knows about it is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..dims import Dim
from ..node import Node, Parameter, Tensor, Value
from ..placement import Sharding


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


class ShapeError(Exception):
    """What the shapes or attributes of a call forbid; `argument` names the culprit, `help` the change."""

    def __init__(self, message: str, help: str | None = None, argument: str | None = None) -> None:
        super().__init__(message)
        self.message, self.help, self.argument = message, help, argument


@dataclass(frozen=True)
class Attribute:
    """A compile-time argument: `type` is "int", "float", "bool", "string", "name", "ints" or "any"."""

    name: str
    type: str
    doc: str
    default: Any = REQUIRED


@dataclass(frozen=True)
class Inferred:
    """Result of shape inference."""

    outputs: tuple[Tensor, ...]
    parameters: tuple[Parameter, ...] = ()


Saved = str | int | Tensor
"""What backward keeps: an argument by name, an output by number, or a tensor of the op's own."""


@dataclass(frozen=True)
class Op:
    """One primitive.

    tensors      names of tensor arguments in order; "*xs" takes any number, "mask?" may be left out. Where an
                 attribute has the name of a tensor argument, a number may stand in its place (`x + 1`) and is
                 found in the attributes. Positional arguments beyond the tensors fill the attributes in order.
    attributes   an attribute named "*sizes" takes whole numbers by any further name; those are then found in the
                 node's attributes under their own names
    infer        (inputs by argument name; variadic ones as a tuple, attributes) -> outputs and parameters;
                 here and in `Node.attrs` the attributes are complete: defaults are filled in
    flops        floating-point operations of the contractions of one forward call (a multiply-add is two), as
                 torch's FlopCounterMode counts them; element-wise work counts nothing
    saved        what backward needs kept, beside parameters: see `Saved`, `kept`
    emit         Python expression for the call: (node, input tensors, argument expressions by name; variadic as
                 one comma-separated string, callee); the callee is "self.<label>" for ops with a module, else ""
                 Where attributes hold sizes such as `B`, the argument expressions also map each symbol in them to
                 an expression, such as {"B": "tokens.shape[0]"}
    module       constructor expression of the torch module that owns the parameters; None: no parameters
    imports      module aliases that the expressions use: subset of {"F", "layers"} beside `torch` and `nn`
    category     "value", "loss" or "metric" (a metric is not differentiated)
    sharding     how the op may be split over ranks: see `Sharding`; None: only whole operands
    local        attributes of one rank, given the node with its placements and {axis: size}; for ops that hold sizes
    after_step   function of `dskc.runtime.layers` that train.py calls after each optimizer step, with the model and the
                 data axis, if there is one
    """

    name: str
    doc: str
    tensors: tuple[str, ...]
    infer: Callable[[Mapping[str, Any], Mapping[str, Any]], Inferred]
    emit: Callable[[Node, Sequence[Tensor], Mapping[str, str], str], str]
    attributes: tuple[Attribute, ...] = ()
    flops: Callable[[Node, Sequence[Tensor]], Dim] = lambda node, inputs: 0
    saved: Callable[[Node, Sequence[Tensor]], tuple[Saved, ...]] = lambda node, inputs: ()
    module: Callable[[Node], str] | None = None
    imports: tuple[str, ...] = ()
    category: str = "value"
    sharding: Callable[[Node, Sequence[Tensor]], Sharding] | None = None
    local: Callable[[Node, Mapping[str, int]], Mapping[str, Any]] = lambda node, sizes: node.attrs
    after_step: str | None = None


def kept(op: Op, node: Node, inputs: Sequence[Tensor]) -> tuple[tuple[Value | None, Tensor], ...]:
    """Tensors that backward of a node keeps, each with the value it is; None: a tensor of the op's own.

    Two nodes that keep the same value keep it once.
    """
    result: list[tuple[Value | None, Tensor]] = []
    for entry in op.saved(node, inputs):
        if isinstance(entry, Tensor):
            result.append((None, entry))
        elif isinstance(entry, int):
            result.append(((node.name, entry), node.outputs[entry]))
        else:
            rows = zip(node.args, node.inputs, inputs, strict=True)
            result.extend((value, tensor) for name, value, tensor in rows if name == entry)
    return tuple(result)
