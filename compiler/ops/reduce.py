"""Reductions over dimensions: mean, sum, max, min, argmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim
from ..node import Node, Tensor
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import dimension, literal, operand, require_kind

_DIM = Attribute("dim", "ints", "dimensions to reduce; none: all", None)
_KEEP = Attribute("keep", "bool", "whether reduced dimensions stay with size 1", False)


def _dims(x: Tensor, attrs: Mapping[str, Any]) -> tuple[int, ...]:
    given = attrs["dim"]
    if given is None:
        return tuple(range(len(x.shape)))
    dims = tuple(dimension({"dim": d}, x) for d in given)
    if len(set(dims)) != len(dims):
        raise ShapeError(f"`dim` names a dimension of {x} twice", None, "dim")
    return dims


def _reduced(x: Tensor, attrs: Mapping[str, Any]) -> tuple[Dim, ...]:
    dims = _dims(x, attrs)
    if attrs["keep"]:
        return tuple(1 if i in dims else n for i, n in enumerate(x.shape))
    return tuple(n for i, n in enumerate(x.shape) if i not in dims)


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    return Inferred((Tensor(_reduced(x, attrs), "int" if x.kind == "int" else "float"),))


def _mean(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    require_kind(inputs["x"], "float", "x")
    return _infer(inputs, attrs)


def _sum(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    return Inferred((Tensor(_reduced(x, attrs), "float" if x.kind == "float" else "int"),))


def _argmax(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    dim = dimension(attrs, x)
    return Inferred((Tensor(x.shape[:dim] + x.shape[dim + 1 :], "int"),))


def _method(name: str) -> Any:
    def emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
        dims, keep = node.attrs["dim"], node.attrs["keep"]
        if dims is None and keep:
            dims = _dims(inputs[0], node.attrs)
        parts = [] if dims is None else [literal(dims[0] if len(dims) == 1 else tuple(dims))]
        return f"{operand(args['x'])}.{name}({', '.join(parts + (['keepdim=True'] if keep else []))})"

    return emit


def _extreme_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    return ("x", 0)


def _extreme(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    if inputs["x"].kind == "bool":
        raise ShapeError(f"`x` must hold numbers, but is {inputs['x']}", "cast(x, to: int)", "x")
    return _infer(inputs, attrs)


REDUCTIONS = (
    Op("mean", "Mean over dimensions.", ("x",), _mean, _method("mean"), (_DIM, _KEEP)),
    Op("sum", "Sum over dimensions; counts where `x` holds truth values.", ("x",), _sum, _method("sum"), (_DIM, _KEEP)),
    Op("max", "Largest over dimensions.", ("x",), _extreme, _method("amax"), (_DIM, _KEEP), saved=_extreme_saved),
    Op("min", "Smallest over dimensions.", ("x",), _extreme, _method("amin"), (_DIM, _KEEP), saved=_extreme_saved),
    Op(
        "argmax",
        "Index of the largest along a dimension.",
        ("x",),
        _argmax,
        lambda node, inputs, args, callee: f"{operand(args['x'])}.argmax({literal(node.attrs['dim'])})",
        (Attribute("dim", "int", "the dimension", -1),),
    ),
)
