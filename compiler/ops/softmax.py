"""softmax, log_softmax, normalize, dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import symbols
from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, Saved
from .common import DIM, dimension, keywords, literal, number, operand, require_kind
from .sharding import spelled


def _along(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    dimension(attrs, x)
    return Inferred((x,))


def _normalize(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    number(attrs, "eps", 0.0)
    return _along(inputs, attrs)


def _emit_normalize(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    eps = None if node.attrs["eps"] == 1e-12 else node.attrs["eps"]
    return f"F.normalize({args['x']}{keywords(dim=node.attrs['dim'], eps=eps)})"


def _norms(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    shape = list(inputs[0].shape)
    shape[dimension(node.attrs, inputs[0])] = 1
    return ("x", Tensor(tuple(shape)), Tensor(tuple(shape)))


def _dropout(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    require_kind(inputs["x"], "float", "x")
    number(attrs, "rate", 0.0, 1.0)
    return Inferred((inputs["x"],))


def _emit_dropout(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    rate = node.attrs["rate"]
    return f"F.dropout({args['x']}, {literal(rate)}, training=self.training)" if rate else args["x"]


def _others(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    letters = spelled(len(inputs[0].shape), dimension(node.attrs, inputs[0]))
    return Sharding((letters,), (), (letters,))


def _samples(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Ranks of the data axis draw numbers of their own; those of the tensor axis draw the same, for whole values."""
    shape = inputs[0].shape
    batch = (i for i, size in enumerate(shape) if not node.attrs["rate"] or "B" in symbols(size))
    letters = spelled(len(shape), *set(range(len(shape))).difference(batch))
    return Sharding((letters,), (), (letters,))


def _softmax(name: str, doc: str) -> Op:
    return Op(
        name,
        doc,
        ("x",),
        _along,
        lambda node, inputs, args, callee: f"{operand(args['x'])}.{name}({literal(node.attrs['dim'])})",
        (DIM,),
        saved=lambda node, inputs: (0,),
        sharding=_others,
    )


SOFTMAX = (
    _softmax("softmax", "Positive shares along a dimension that add up to 1."),
    _softmax("log_softmax", "Logarithm of softmax, without its loss of precision."),
    Op(
        "normalize",
        "Divides by the Euclidean length along a dimension.",
        ("x",),
        _normalize,
        _emit_normalize,
        (DIM, Attribute("eps", "float", "least length", 1e-12)),
        saved=_norms,
        sharding=_others,
        imports=("F",),
    ),
    Op(
        "dropout",
        "In training, sets a random share to 0 and scales the rest up.",
        ("x",),
        _dropout,
        _emit_dropout,
        (Attribute("rate", "float", "share that is dropped", 0.1),),
        saved=lambda node, inputs: (Tensor(inputs[0].shape, "bool"),) if node.attrs["rate"] else (),
        imports=("F",),
        sharding=_samples,
    ),
)
