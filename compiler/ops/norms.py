"""Normalisation with learned scale: rms_norm, layer_norm, group_norm, batch_norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..node import Node, Parameter, Tensor
from ..placement import Move, Sharding, shard
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import fixed, literal, module_call, number, require_kind, require_rank, whole
from .sharding import cut, gathered_row, last_whole, moving, spelled


def _eps(default: float) -> Attribute:
    return Attribute("eps", "float", "added to the variance, against division by zero", default)


_BIAS = Attribute("bias", "bool", "whether to add a learned offset", True)


def _scale(size: int, bias: bool) -> tuple[Parameter, ...]:
    weight = Parameter("weight", (size,), "ones", decays=False)
    return (weight, Parameter("bias", (size,), "zeros", decays=False)) if bias else (weight,)


def _last(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    require_rank(x, tuple(range(1, 9)), "x", "[..., features]")
    number(attrs, "eps", 0.0)
    return Inferred((x,), _scale(fixed(x.shape[-1], "x", "the last size"), bool(attrs.get("bias"))))


def _per_row(count: int) -> Any:
    def saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
        return ("x", *(Tensor((*inputs[0].shape[:-1], 1)) for _ in range(count)))

    return saved


RMS_NORM = Op(
    "rms_norm",
    "Divides by the root of the mean square of the last dimension, then scales: x / rms(x) * weight.",
    ("x",),
    _last,
    module_call("x"),
    (_eps(1e-6),),
    saved=_per_row(1),
    module=lambda node: f"nn.RMSNorm({node.parameters[0].shape[0]}, eps={literal(node.attrs['eps'])})",
    sharding=last_whole,
)


def _layer_norm_module(node: Node) -> str:
    bias = "" if node.attrs["bias"] else ", bias=False"
    return f"nn.LayerNorm({node.parameters[0].shape[0]}, eps={literal(node.attrs['eps'])}{bias})"


LAYER_NORM = Op(
    "layer_norm",
    "Subtracts the mean of the last dimension and divides by its standard deviation, then scales and shifts.",
    ("x",),
    _last,
    module_call("x"),
    (_eps(1e-5), _BIAS),
    saved=_per_row(2),
    module=_layer_norm_module,
    sharding=last_whole,
)


def _channels(x: Tensor, least: int = 2) -> int:
    require_kind(x, "float", "x")
    require_rank(x, tuple(range(least, 6)), "x", "[batch, channels, ...]")
    return fixed(x.shape[1], "x", "the number of channels")


def _group_norm(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    channels, groups = _channels(x), whole(attrs, "groups")
    number(attrs, "eps", 0.0)
    if channels % groups:
        raise ShapeError(f"{channels} channels do not split into {groups} groups", argument="groups")
    return Inferred((x,), _scale(channels, True))


def _group_norm_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    row = Tensor((inputs[0].shape[0], node.attrs["groups"]))
    return ("x", row, row)


def _group_norm_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    letters = "bc" + "." * (len(inputs[0].shape) - 2)
    return Sharding((letters,), ("c", "c"), (letters,), sizes={"c": node.attrs["groups"]})


GROUP_NORM = Op(
    "group_norm",
    "Normalises groups of channels of each sample: [B, C, ...].",
    ("x",),
    _group_norm,
    module_call("x"),
    (Attribute("groups", "int", "number of groups of channels"), _eps(1e-5)),
    saved=_group_norm_saved,
    module=lambda node: (
        f"nn.GroupNorm({node.attrs['groups']}, {node.parameters[0].shape[0]}, eps={literal(node.attrs['eps'])})"
    ),
    sharding=_group_norm_sharding,
    local=lambda node, sizes: {**node.attrs, "groups": node.attrs["groups"] // cut(node, sizes, 1)},
)


def _batch_norm(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_rank(x, (2, 3, 4), "x", "[B, C], [B, C, L] or [B, C, H, W]")
    channels = _channels(x)
    number(attrs, "eps", 0.0)
    number(attrs, "momentum", 0.0, 1.0)
    buffers = (
        Parameter("running_mean", (channels,), "zeros", trained=False, decays=False),
        Parameter("running_var", (channels,), "ones", trained=False, decays=False),
        Parameter("num_batches_tracked", (), "zeros", trained=False, decays=False, kind="int"),
    )
    return Inferred((x,), (*_scale(channels, True), *buffers))


def _batch_norm_module(node: Node) -> str:
    rank = 2 if len(node.outputs[0].shape) == 4 else 1
    options = f"eps={literal(node.attrs['eps'])}, momentum={literal(node.attrs['momentum'])}"
    if axes := moving(node):
        return f"layers.SplitBatchNorm({node.parameters[0].shape[0]}, {', '.join(axes)}, {options})"
    return f"nn.BatchNorm{rank}d({node.parameters[0].shape[0]}, {options})"


def _batch_norm_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    row = Tensor(node.parameters[0].shape)
    return ("x", row, row)


def _batch_norm_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Ranks with parts of the batch share its statistics: mean and variance forward, two sums backward."""
    rank, channels = len(inputs[0].shape), node.parameters[0].shape[0]
    letters = spelled(rank, 0, *range(2, rank))
    split = gathered_row(node, (shard(0),), (shard(0),))
    moves = (Move("all_gather", "statistics", 2 * channels), Move("all_reduce", "gradients of them", 0, 2 * channels))
    named = tuple(letters[1] if p.shape else "" for p in node.parameters)
    return Sharding((letters,), named, (letters,), rows=(replace(split, moves=moves),))


BATCH_NORM = Op(
    "batch_norm",
    "Normalises each channel over the batch; keeps running statistics for evaluation.",
    ("x",),
    _batch_norm,
    module_call("x"),
    (_eps(1e-5), Attribute("momentum", "float", "share of a new batch in the running statistics", 0.1)),
    saved=_batch_norm_saved,
    module=_batch_norm_module,
    sharding=_batch_norm_sharding,
)
