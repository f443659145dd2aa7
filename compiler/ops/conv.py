"""conv2d: learned filters that slide over an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim
from ..node import Node, Parameter, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, ShapeError
from .common import STD, fixed, module_call, require_kind, require_rank, start, whole
from .sharding import cut


def window(size: Dim, kernel: int, stride: int, padding: int, which: str) -> Dim:
    """Number of places of a sliding window along one dimension."""
    room = size + 2 * padding - kernel
    if isinstance(room, int) and room < 0:
        raise ShapeError(
            f"a window of {kernel} does not fit into {which} {size} with padding {padding}",
            "use a smaller kernel or more padding",
            "kernel",
        )
    return room + 1 if stride == 1 else room // stride + 1


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    require_rank(x, (4,), "x", "[B, channels, height, width]")
    channels = fixed(x.shape[1], "x", "the number of channels")
    out, kernel, stride, groups = (whole(attrs, name) for name in ("out", "kernel", "stride", "groups"))
    padding = whole(attrs, "padding", least=0)
    for text, count in ((f"{channels} channels of `x`", channels), (f"{out} channels of `out`", out)):
        if count % groups:
            raise ShapeError(f"{text} do not split into {groups} groups", None, "groups")
    height = window(x.shape[2], kernel, stride, padding, "height")
    width = window(x.shape[3], kernel, stride, padding, "width")
    weight = Parameter("weight", (out, channels // groups, kernel, kernel), start(attrs))
    bias = (Parameter("bias", (out,), "zeros", decays=False),) if attrs["bias"] else ()
    return Inferred((Tensor((x.shape[0], out, height, width)),), (weight, *bias))


def _module(node: Node) -> str:
    attrs, (out, per_group, *_) = node.attrs, node.parameters[0].shape
    options = "".join(
        f", {name}={attrs[name]!r}"
        for name, usual in (("stride", 1), ("padding", 0), ("groups", 1))
        if attrs[name] != usual
    )
    bias = "" if attrs["bias"] else ", bias=False"
    return f"nn.Conv2d({per_group * attrs['groups']}, {out}, {attrs['kernel']}{options}{bias})"


def _flops(node: Node, inputs: Sequence[Tensor]) -> Dim:
    _, per_group, height, width = node.parameters[0].shape
    return 2 * node.outputs[0].elements * per_group * height * width


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Filters, input channels, or whole groups of both. With a bias the sum over input channels stays whole."""
    bias, groups = node.attrs["bias"], node.attrs["groups"]
    if groups > 1:
        return Sharding(("bg..",), ("g...", "g")[: 1 + bias], ("bg..",), sizes={"g": groups})
    if bias:
        return Sharding(("b...",), ("o...", "o"), ("bo..",))
    return Sharding(("bi..",), ("oi..",), ("bo..",), "i", ((0,),))


def _local(node: Node, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    attrs, ranks = node.attrs, cut(node, sizes, 1)
    return {**attrs, "out": attrs["out"] // ranks, "groups": max(1, attrs["groups"] // ranks)}


CONV2D = Op(
    "conv2d",
    "Slides learned square filters over images: [B, in, H, W] -> [B, out, H', W'].",
    ("x",),
    _infer,
    module_call("x"),
    (
        Attribute("out", "int", "number of filters"),
        Attribute("kernel", "int", "height and width of a filter"),
        Attribute("stride", "int", "step of the sliding window", 1),
        Attribute("padding", "int", "zeros added on each side", 0),
        Attribute("groups", "int", "groups of channels that do not mix", 1),
        Attribute("bias", "bool", "whether to add a learned offset", False),
        Attribute("init", "name", "start values: normal, zeros, ones or kaiming", "kaiming"),
        STD,
    ),
    flops=_flops,
    saved=lambda node, inputs: ("x",),
    module=_module,
    sharding=_sharding,
    local=_local,
)
