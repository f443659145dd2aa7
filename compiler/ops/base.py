"""The record that describes an op: everything the compiler knows about it is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..dims import Dim
from ..node import Node, Parameter, Tensor


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


@dataclass(frozen=True)
class Op:
    """One primitive.

    tensors      names of tensor arguments in order; "*xs" takes any number, "mask?" may be left out
    infer        (inputs by argument name; variadic ones as a tuple, attributes) -> outputs and parameters
    flops        floating-point operations of one forward call (a multiply-add is two)
    saved        tensors that backward needs kept, beside parameters; default: the float inputs
    emit         Python expression for the call: (node, argument expressions by name; variadic as one
                 comma-separated string, callee); the callee is "self.<label>" for ops with parameters, else ""
    module       constructor expression of the torch module that owns the parameters; None: no parameters
    imports      module aliases that the expressions use: subset of {"F", "layers"} beside `torch` and `nn`
    category     "value", "loss" or "metric" (a metric is not differentiated)
    """

    name: str
    doc: str
    tensors: tuple[str, ...]
    infer: Callable[[Mapping[str, Any], Mapping[str, Any]], Inferred]
    emit: Callable[[Node, Mapping[str, str], str], str]
    attributes: tuple[Attribute, ...] = ()
    flops: Callable[[Node, Sequence[Tensor]], Dim] = lambda node, inputs: 0
    saved: Callable[[Node, Sequence[Tensor]], tuple[Tensor, ...]] = lambda node, inputs: tuple(
        t for t in inputs if t.kind == "float"
    )
    module: Callable[[Node], str] | None = None
    imports: tuple[str, ...] = ()
    category: str = "value"
