"""Pooling of images: max_pool, average_pool, global_average_pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, ShapeError
from .common import Emit, method, require_kind, require_rank, whole
from .conv import window


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    require_rank(x, (4,), "x", "[B, channels, height, width]")
    kernel, padding = whole(attrs, "kernel"), whole(attrs, "padding", least=0)
    stride = kernel if attrs["stride"] is None else whole(attrs, "stride")
    if 2 * padding > kernel:
        raise ShapeError(f"`padding` is {padding}, more than half of kernel {kernel}", None, "padding")
    height = window(x.shape[2], kernel, stride, padding, "height")
    width = window(x.shape[3], kernel, stride, padding, "width")
    return Inferred((Tensor((*x.shape[:2], height, width)),))


def _options(node: Node) -> str:
    attrs = node.attrs
    stride = "" if attrs["stride"] in (None, attrs["kernel"]) else f", stride={attrs['stride']!r}"
    return f"{attrs['kernel']!r}{stride}" + (f", padding={attrs['padding']!r}" if attrs["padding"] else "")


def _emit(name: str) -> Emit:
    return lambda node, inputs, args, callee: f"F.{name}({args['x']}, {_options(node)})"


_WINDOWS = Sharding(("bc..",), (), ("bc..",))
_ATTRIBUTES = (
    Attribute("kernel", "int", "height and width of the window"),
    Attribute("stride", "int", "step of the window; none: the kernel", None),
    Attribute("padding", "int", "added on each side", 0),
)


def _global(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    require_rank(x, (4,), "x", "[B, channels, height, width]")
    return Inferred((Tensor(x.shape[:2]),))


POOLING = (
    Op(
        "max_pool",
        "Largest value of each window.",
        ("x",),
        _infer,
        _emit("max_pool2d"),
        _ATTRIBUTES,
        imports=("F",),
        saved=lambda node, inputs: ("x", Tensor(node.outputs[0].shape, "int")),
        sharding=lambda node, inputs: _WINDOWS,
    ),
    Op(
        "average_pool",
        "Mean of each window; zeros of the padding count.",
        ("x",),
        _infer,
        _emit("avg_pool2d"),
        _ATTRIBUTES,
        imports=("F",),
        saved=lambda node, inputs: ("x",),
        sharding=lambda node, inputs: replace(_WINDOWS, linear=((0,),)),
    ),
    Op(
        "global_average_pool",
        "Mean over height and width: [B, C, H, W] -> [B, C].",
        ("x",),
        _global,
        method(".mean((-2, -1))"),
        sharding=lambda node, inputs: Sharding(("bc..",), (), ("bc",), linear=((0,),)),
    ),
)
