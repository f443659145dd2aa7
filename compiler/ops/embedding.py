"""embedding, positions, parameter: learned tables and what indexes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..node import Node, Parameter, Tensor
from ..placement import REPLICATED, Row, Sharding, shard
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import INIT, STD, choice, dimension, literal, module_call, number, operand, require_kind, start, whole
from .sharding import AXES, cut, parts, spelled


def _embedding(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "int", "x")
    size, dim = whole(attrs, "size"), whole(attrs, "dim")
    return Inferred((Tensor((*x.shape, dim)),), (Parameter("weight", (size, dim), start(attrs)),))


def _vocabulary_axes(node: Node) -> list[str]:
    return [AXES[axis] for axis, place in node.parameters[0].placement.items() if place == shard(0)]


def _embedding_module(node: Node) -> str:
    size, dim = node.parameters[0].shape
    if axes := _vocabulary_axes(node):
        return f"layers.SplitEmbedding({size}, {dim}, {', '.join(axes)})"
    return f"nn.Embedding({size}, {dim})"


def _embedding_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """A rank with part of the vocabulary gives zeros for the other tokens."""
    letters = spelled(len(inputs[0].shape))
    return Sharding((letters,), ("VD",), (letters + "D",), "V")


def _embedding_local(node: Node, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    rows = parts(node.parameters[0].placement, 0, sizes)
    return {**node.attrs, "size": node.attrs["size"] // rows, "dim": node.attrs["dim"] // cut(node, sizes, -1)}


def _embedding_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    if not _vocabulary_axes(node):
        return ("x",)
    return (inputs[0], Tensor(inputs[0].shape, "bool"))


EMBEDDING = Op(
    "embedding",
    "Looks up a learned vector for each index: int[...] -> [..., dim].",
    ("x",),
    _embedding,
    module_call("x"),
    (
        Attribute("size", "int", "number of vectors, the vocabulary"),
        Attribute("dim", "int", "length of a vector"),
        INIT,
        STD,
    ),
    saved=_embedding_saved,
    module=_embedding_module,
    sharding=_embedding_sharding,
    local=_embedding_local,
)


def _positions(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    return Inferred((Tensor((x.shape[dimension(attrs, x)],), "int"),))


def _emit_positions(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    x = operand(args["x"])
    return f"torch.arange({x}.shape[{node.attrs['dim']}], device={x}.device)"


def _positions_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """The values of `x` do not matter, only that the counted dimension is whole."""
    x = inputs[0]
    others = (i for i in range(len(x.shape)) if i != dimension(node.attrs, x))
    return Sharding(("." * len(x.shape),), (), (".",), rows=tuple(Row((shard(i),), (), (REPLICATED,)) for i in others))


POSITIONS = Op(
    "positions",
    "Counts 0, 1, 2 ... along a dimension of the input: [B, S] -> int[S].",
    ("x",),
    _positions,
    _emit_positions,
    (Attribute("dim", "int", "the dimension to count along", 1),),
    sharding=_positions_sharding,
)


def _parameter(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    shape = attrs["shape"]
    if not isinstance(shape, tuple | list) or not all(type(n) is int and n > 0 for n in shape):
        raise ShapeError("`shape` must be whole numbers above 0", "for example shape: (1, 256)", "shape")
    if choice(attrs, "init", ("normal", "zeros", "ones", "constant")) == "constant":
        init = f"constant({number(attrs, 'value')})"
    else:
        init = start(attrs)
    dims = tuple(shape)
    return Inferred((Tensor(dims),), (Parameter("weight", dims, init, decays=False),))


def _parameter_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    letters = spelled(len(node.outputs[0].shape))
    return Sharding((), (letters,), (letters,))


def _parameter_local(node: Node, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    return {**node.attrs, "shape": tuple(n // cut(node, sizes, i) for i, n in enumerate(node.attrs["shape"]))}


PARAMETER = Op(
    "parameter",
    "A learned tensor of its own, such as a class token or a temperature.",
    (),
    _parameter,
    module_call(),
    (
        Attribute("shape", "ints", "sizes; () is a single number", ()),
        Attribute("init", "name", "start values: normal, zeros, ones or constant", "normal"),
        STD,
        Attribute("value", "float", "the start value with init: constant", 0.0),
    ),
    module=lambda node: f"layers.Learned({literal(tuple(node.parameters[0].shape))})",
    imports=("layers",),
    sharding=_parameter_sharding,
    local=_parameter_local,
)
