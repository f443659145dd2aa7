"""Mixture of experts: route, dispatch, expert_linear, combine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim, product, symbols
from ..node import Node, Parameter, Tensor
from ..placement import INVARIANT, PARTIAL, REPLICATED, Move, Row, Sharding, shard
from .base import Attribute, Inferred, Op, Saved, ShapeError
from .common import (
    INIT,
    STD,
    choice,
    fixed,
    keywords,
    module_call,
    number,
    require_kind,
    require_rank,
    require_same,
    start,
    whole,
)
from .sharding import cut, moving, spelled


def _route(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    require_kind(x, "float", "x")
    require_rank(x, (2, 3, 4), "x", "[..., features]")
    width = fixed(x.shape[-1], "x", "the last size")
    experts, top, groups, kept = (whole(attrs, name) for name in ("experts", "top", "groups", "kept"))
    choice(attrs, "score", ("sigmoid", "softmax"))
    number(attrs, "scale", 0.0)
    number(attrs, "balance", 0.0)
    if experts % groups:
        raise ShapeError(f"{experts} experts do not split into {groups} groups", None, "groups")
    if kept > groups:
        raise ShapeError(f"`kept` is {kept}, but there are {groups} groups", None, "kept")
    if top > kept * (experts // groups):
        raise ShapeError(
            f"`top` is {top}, but {kept} groups of {experts // groups} hold {kept * (experts // groups)} experts",
            "choose fewer experts, or keep more groups",
            "top",
        )
    weight = Parameter("weight", (experts, width), start(attrs))
    bias = Parameter("bias", (experts,), "zeros", trained=False, decays=False)
    shape = (*x.shape[:-1], top)
    return Inferred((Tensor(shape), Tensor(shape, "int")), (weight, bias))


def _router(node: Node) -> str:
    attrs, (experts, width) = node.attrs, node.parameters[0].shape
    usual = {attribute.name: attribute.default for attribute in _ROUTER}
    names = ("groups", "kept", "normalize", "scale", "balance")
    options = ', score="softmax"' if attrs["score"] == "softmax" else ""
    options += keywords(**{name: attrs[name] if attrs[name] != usual[name] else None for name in names})
    return f"layers.Router({width}, {experts}, {attrs['top']!r}{options})"


def _route_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    scores, chosen = Tensor((*inputs[0].shape[:-1], node.attrs["experts"])), node.outputs[0]
    sums = Tensor((*inputs[0].shape[:-1], 1))
    return ("x", scores, 1, *((chosen, sums) if node.attrs["normalize"] else ()))


def _route_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Samples only: loads of experts are added up over the data axis."""
    shape = inputs[0].shape
    letters = spelled(len(shape), *(i for i, size in enumerate(shape) if "B" not in symbols(size)))
    return Sharding((letters,), ("..", "."), (letters, letters))


_ROUTER = (
    Attribute("experts", "int", "number of experts"),
    Attribute("top", "int", "number of experts for each token"),
    Attribute("score", "name", "sigmoid or softmax of the logits", "sigmoid"),
    Attribute("groups", "int", "groups of experts", 1),
    Attribute("kept", "int", "groups that a token may choose from", 1),
    Attribute("normalize", "bool", "whether the chosen weights add up to 1 (before scale)", True),
    Attribute("scale", "float", "factor of the weights", 1.0),
    Attribute("balance", "float", "step of the balancing bias after each optimizer step; 0: fixed", 0.001),
    INIT,
    STD,
)
ROUTE = Op(
    "route",
    "Chooses experts for each token: (weights, chosen) = route(x, experts: 64, top: 6). A bias that takes part in the "
    "choice only balances the load, without an auxiliary loss.",
    ("x",),
    _route,
    module_call("x"),
    _ROUTER,
    flops=lambda node, inputs: 2 * inputs[0].elements * node.attrs["experts"],
    saved=_route_saved,
    module=_router,
    imports=("layers",),
    sharding=_route_sharding,
    after_step="update_router_bias",
)


def _dispatch(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x, chosen = inputs["x"], inputs["chosen"]
    require_kind(chosen, "int", "chosen")
    if x.shape[:-1] != chosen.shape[:-1]:
        raise ShapeError(f"`chosen` {chosen} does not fit `x` {x}: all but the last size must be equal", None, "chosen")
    rows = product(chosen.shape)
    return Inferred(
        (Tensor((rows, x.shape[-1]), x.kind), Tensor((whole(attrs, "experts"),), "int"), Tensor((rows,), "int"))
    )


def _dispatch_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Features, or samples: then each rank sorts its own, and holds its part of the number of rows per expert."""
    last, own = len(inputs[0].shape) - 1, shard(0)
    features = Row((shard(last), REPLICATED), (), (shard(1), REPLICATED, REPLICATED))
    samples = Row((own, own), (), (own, PARTIAL, own))
    letters, sizes = "." * (last + 1), node.outputs[1].shape[0]
    told = Move("all_to_all", "numbers of rows", sizes, format="int64")
    to_experts = Row((INVARIANT,) * 2, (), (own,) * 3, (told, _moved(node.outputs[0])))
    return Sharding(
        (letters, letters), (), ("..", ".", "."), linear=(), rows=(features, samples), by_expert=(to_experts,)
    )


def _moved(rows: Tensor) -> Move:
    """Rows to the ranks of their experts, or back; as many as there were, where the experts are used evenly."""
    return Move("all_to_all", "rows", rows.elements, rows.elements, format="value")


def _dispatch_local(node: Node, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    """Experts of one rank of the expert axis."""
    split = "expert" in sizes and node.placements[1]["expert"] == shard(0)
    return {**node.attrs, "experts": node.attrs["experts"] // sizes["expert"]} if split else node.attrs


def _dispatch_call(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    experts = node.whole.get("experts", node.attrs["experts"])
    split = moving(node)
    options = "".join(f", axis={axis}" for axis in split)
    return f"layers.{'split_' if split else ''}dispatch({args['x']}, {args['chosen']}, experts={experts!r}{options})"


DISPATCH = Op(
    "dispatch",
    "Copies each token to the rows of its experts: (rows, sizes, order) = dispatch(x, chosen, experts: 64).",
    ("x", "chosen"),
    _dispatch,
    _dispatch_call,
    (Attribute("experts", "int", "number of experts"),),
    saved=lambda node, inputs: (node.outputs[2],),
    imports=("layers",),
    sharding=_dispatch_sharding,
    local=_dispatch_local,
)


def _expert_linear(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    rows, sizes = inputs["rows"], inputs["sizes"]
    require_kind(rows, "float", "rows")
    require_rank(rows, (2,), "rows", "[rows, features]")
    require_kind(sizes, "int", "sizes")
    require_rank(sizes, (1,), "sizes", "int[experts]")
    out, width = whole(attrs, "out"), fixed(rows.shape[1], "rows", "the last size")
    weight = Parameter("weight", (fixed(sizes.shape[0], "sizes", "the size"), out, width), start(attrs))
    return Inferred((Tensor((rows.shape[0], out)),), (weight,))


def _expert_module(node: Node) -> str:
    experts, out, width = node.parameters[0].shape
    return f"layers.ExpertLinear({experts}, {width}, {out})"


def _expert_flops(node: Node, inputs: Sequence[Tensor]) -> Dim:
    return 2 * node.outputs[0].elements * inputs[0].shape[-1]


def _expert_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Features of either side; or the rows of this rank's samples, with the number of them per expert."""
    own = Row((shard(0), PARTIAL), (REPLICATED,), (shard(0),))
    by_expert = Row((shard(0),) * 2, (shard(0),), (shard(0),))
    rows = (own,) if _of_samples(inputs[0]) else ()
    return Sharding((".i", "."), (".oi",), (".o",), "i", ((0,),), rows, by_expert=(by_expert,))


def _of_samples(rows: Tensor) -> bool:
    return "B" in symbols(rows.shape[0])


EXPERT_LINEAR = Op(
    "expert_linear",
    "A learned matrix for each expert, on rows sorted by expert.",
    ("rows", "sizes"),
    _expert_linear,
    module_call("rows", "sizes"),
    (Attribute("out", "int", "size of the last dimension of the result"), INIT, STD),
    flops=_expert_flops,
    saved=lambda node, inputs: ("rows",),
    module=_expert_module,
    imports=("layers",),
    sharding=_expert_sharding,
    local=lambda node, sizes: {**node.attrs, "out": node.attrs["out"] // cut(node, sizes, 1)},
)


def _combine(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    rows, order, weights = inputs["rows"], inputs["order"], inputs["weights"]
    require_rank(rows, (2,), "rows", "[rows, features]")
    require_kind(order, "int", "order")
    require_same(rows.shape[0], order.shape[0], "`order` has {b} rows, but `rows` has {a}", "order")
    require_same(rows.shape[0], weights.elements, "`weights` has {b} entries, but `rows` has {a} rows", "weights")
    return Inferred((Tensor((*weights.shape[:-1], rows.shape[1])),))


def _combine_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    weights = "." * len(inputs[2].shape)
    own = (Row((shard(0),) * 3, (), (shard(0),)),) if _of_samples(inputs[0]) else ()
    back = Row((shard(0), shard(0), INVARIANT), (), (INVARIANT,), (_moved(inputs[0]),))
    letters = (".w", ".", weights)
    return Sharding(letters, (), (weights[:-1] + "w",), linear=((0,), (2,)), rows=own, by_expert=(back,))


def _combine_call(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    arguments = ", ".join((args["rows"], args["order"], args["weights"], *(f"axis={axis}" for axis in moving(node))))
    return f"layers.{'split_' if node.moves else ''}combine({arguments})"


COMBINE = Op(
    "combine",
    "Brings rows back to their tokens and adds them up, weighted: combine(rows, order, weights).",
    ("rows", "order", "weights"),
    _combine,
    _combine_call,
    saved=lambda node, inputs: (inputs[1], inputs[0], "weights"),
    imports=("layers",),
    sharding=_combine_sharding,
)
EXPERTS = (ROUTE, DISPATCH, EXPERT_LINEAR, COMBINE)
