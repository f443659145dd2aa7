"""Reductions over dimensions: mean, sum, max, min, argmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..dims import Dim
from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import dimension, literal, operand, require_kind
from .sharding import share_of_mean, spelled

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


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Dimensions that stay may be split."""
    x, dims = inputs[0], _dims(inputs[0], node.attrs)
    letters = spelled(len(x.shape), *dims)
    kept = letters if node.attrs["keep"] else "".join(c for i, c in enumerate(letters) if i not in dims)
    return Sharding((letters,), (), (kept,))


def _adding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """The sum over a split dimension is partial."""
    x, dims = inputs[0], _dims(inputs[0], node.attrs)
    letters = spelled(len(x.shape))
    summed = "".join(letters[i] for i in dims)
    kept = "".join("." if c in summed else c for c in letters if node.attrs["keep"] or c not in summed)
    return Sharding((letters,), (), (kept,), summed)


def _sum_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    return replace(_adding(node, inputs), linear=() if inputs[0].kind == "bool" else ((0,),))


def _argmax_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    dim = dimension(node.attrs, inputs[0])
    letters = spelled(len(inputs[0].shape), dim)
    return Sharding((letters,), (), (letters[:dim] + letters[dim + 1 :],))


def _emit_mean(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    text: str = _method("mean")(node, inputs, args, callee)
    return share_of_mean(node, text)


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


def _largest(name: str, doc: str, function: str) -> Op:
    dims = (_DIM, _KEEP)
    return Op(name, doc, ("x",), _extreme, _method(function), dims, saved=_extreme_saved, sharding=_sharding)


REDUCTIONS = (
    Op("mean", "Mean over dimensions.", ("x",), _mean, _emit_mean, (_DIM, _KEEP), sharding=_adding),
    Op(
        "sum",
        "Sum over dimensions; counts where `x` holds truth values.",
        ("x",),
        _sum,
        _method("sum"),
        (_DIM, _KEEP),
        sharding=_sum_sharding,
    ),
    _largest("max", "Largest over dimensions.", "amax"),
    _largest("min", "Smallest over dimensions.", "amin"),
    Op(
        "argmax",
        "Index of the largest along a dimension.",
        ("x",),
        _argmax,
        lambda node, inputs, args, callee: f"{operand(args['x'])}.argmax({literal(node.attrs['dim'])})",
        (Attribute("dim", "int", "the dimension", -1),),
        sharding=_argmax_sharding,
    ),
)
