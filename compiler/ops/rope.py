"""rope: rotary position embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, ShapeError
from .common import choice, dimension, fixed, keywords, literal, number, require_kind, require_rank, whole
from .sharding import spelled

SCALINGS = ("none", "linear", "llama3", "yarn")
_OPTIONS = {
    "none": (),
    "linear": ("factor",),
    "llama3": ("factor", "original", "low", "high"),
    "yarn": ("factor", "original", "low", "high"),
}


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    require_rank(x, (3, 4, 5), "x", "[..., sequence, size]")
    if fixed(x.shape[-1], "x", "the last size") % 2:
        raise ShapeError(f"rope turns pairs of numbers, but the last size of `x` is {x.shape[-1]}", None, "x")
    if dimension(attrs, x, name="sequence") == len(x.shape) - 1:
        raise ShapeError("`sequence` is the last dimension, which is the one that is rotated", None, "sequence")
    number(attrs, "theta", 1.0)
    if choice(attrs, "scaling", SCALINGS) != "none":
        number(attrs, "factor", 1.0)
        whole(attrs, "original")
        number(attrs, "low", 0.0)
        number(attrs, "high", number(attrs, "low"))
    return Inferred((x,))


def _emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    attrs = node.attrs
    x = inputs[0]
    sequence = dimension(attrs, x, name="sequence") - len(x.shape)
    options = keywords(sequence=None if sequence == -2 else sequence, interleaved=attrs["interleaved"] or None)
    scaling = choice(attrs, "scaling", SCALINGS)
    if scaling != "none":
        values = "".join(f", {name}={literal(attrs[name])}" for name in _OPTIONS[scaling])
        options += f', scaling="{scaling}"{values}'
    return f"layers.rope({args['x']}, theta={literal(attrs['theta'])}{options})"


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Positions count from 0, so that the sequence is whole."""
    letters = spelled(len(inputs[0].shape), -1, dimension(node.attrs, inputs[0], name="sequence"))
    return Sharding((letters,), (), (letters,), linear=((0,),))


ROPE = Op(
    "rope",
    "Rotates pairs of the last dimension by angles that grow with the position: [..., sequence, size].",
    ("x",),
    _infer,
    _emit,
    (
        Attribute("theta", "float", "base of the wavelengths", 10_000.0),
        Attribute("interleaved", "bool", "pairs are neighbours (x0, x1); else (x_i, x_(i + size/2))", False),
        Attribute("sequence", "int", "the dimension that counts positions", -2),
        Attribute("scaling", "name", "for longer contexts: none, linear, llama3 or yarn", "none"),
        Attribute("factor", "float", "how many times longer the context becomes (with scaling)", 8.0),
        Attribute("original", "int", "length of the context before (llama3, yarn)", 8_192),
        Attribute("low", "float", "llama3: low_freq_factor; yarn: beta_slow", 1.0),
        Attribute("high", "float", "llama3: high_freq_factor; yarn: beta_fast", 4.0),
    ),
    imports=("layers",),
    sharding=_sharding,
)
