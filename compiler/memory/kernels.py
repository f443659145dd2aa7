"""How each op uses memory on a GPU: its kernels, what they save, and the format that autocast gives them.

Formats: https://docs.pytorch.org/docs/stable/amp.html, lists for CUDA. What is saved: `derivatives.yaml` of PyTorch.
Ops that are not in `KERNELS` are one kernel that saves what the op's own record says.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..node import Node, Tensor
from ..ops import OPS
from ..ops.rearrange import axis_sizes, parse
from ..ops.sharding import moving
from ..passes.precision import STORED, WIDTH
from .player import FLOATS, Kernel, Player, widest
from .tape import Fake, Order

FP32 = frozenset(
    {"softmax", "log_softmax", "exp", "log", "rsqrt", "power", "softplus", "cosine_similarity", "mse", "sum",
     "binary_cross_entropy", "layer_norm", "group_norm"}
)  # fmt: skip
"""Ops that autocast runs in fp32."""
ROOM = 2**25
"""Elements of logits that `layers.cross_entropy` turns to fp32 at one time on a GPU."""


def play(player: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    """Results of one primitive."""
    player.ledger.doing = f"forward of {node.label or node.op}"
    return KERNELS.get(node.op, _plain)(player, node, xs, inputs)


def _plain(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    """One kernel that saves what the record of the op says."""
    op = OPS[node.op]
    dtype = widest(xs)
    if p.low != "fp32" and node.op in FP32:
        xs, dtype = [p.cast(x, "fp32") for x in xs], "fp32"
    weights = [p.weight(w.name, p.number(Tensor(w.shape).elements)) for w in node.parameters if w.trained]
    results = []
    for tensor in node.outputs:
        count, kind = p.tensor_of(tensor, dtype)
        results.append(p.made(count, kind, xs[0].order if xs and xs[0].count == count else None))
    entries = op.saved(node, inputs) if op.category != "metric" else ()
    saved, own = [], 0
    for entry in entries:
        if isinstance(entry, Tensor):
            count, kind = p.tensor_of(entry, dtype)
            own += count * WIDTH[kind]
        elif isinstance(entry, int):
            saved.append(results[entry].storage)
        else:
            saved.extend(x.storage for name, x in zip(node.args, xs, strict=True) if name == entry)
    learners = [x for x in (*xs, *weights) if x.dtype in FLOATS] if op.category != "metric" else []
    extra = p.ledger.new(own) if own and any(x.learns for x in learners) and p.tape.recording else None
    p.tape.record(node.op, learners, results, [*saved, *([extra] if extra else [])])
    if extra:
        p.ledger.drop(extra)
    return results


def _linear(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    x = p.cast(xs[0], p.low)
    counts = [p.number(Tensor(w.shape).elements) for w in node.parameters]
    weights = [p.weight(w.name, count, p.low) for w, count in zip(node.parameters, counts, strict=True)]
    if x.order is not None and x.order != tuple(range(len(x.order))):
        x = p.ran("contiguous", (x,), x.count, x.dtype)
    count = p.number(node.outputs[0].elements)
    return [p.ran(node.label or node.op, (x, *weights), count, p.low, (x, weights[0]), product=True)]


def _matmul(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    a, b = (p.cast(x, p.low) for x in xs)
    return [p.ran(node.op, (a, b), p.number(node.outputs[0].elements), p.low, (a, b), product=True)]


def _attention(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    """Flash attention in 16 bits; memory-efficient attention in fp32, with a mask or two head sizes; else products."""
    xs = [p.cast(x, p.low) for x in xs]
    query = xs[0]
    dtype = widest(xs[:3])
    batch, heads, length, width = (p.number(n) for n in inputs[0].shape)
    flash = dtype != "fp32" and len(xs) == 3 and inputs[0].shape[3] == inputs[2].shape[3] and width % 8 == 0
    count = p.number(node.outputs[0].elements)
    if not flash and inputs[0].shape[1] != inputs[1].shape[1]:
        return [_products(p, node, xs, inputs, dtype)]
    rows = length if flash else -(-length // 32) * 32
    saved = list(xs)
    if len(xs) == 4 and xs[3].dtype == "bool":
        saved[3] = p.made(xs[3].count, dtype)
    own = batch * heads * rows * 4
    order = query.order if flash else (0, 2, 1, 3)
    return [p.ran("attention", xs[:3], count, dtype, saved, own, keeps_result=True, order=order, product=True)]


def _products(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor], dtype: str) -> Fake:
    """Attention in plain kernels, which keep the scores of all pairs."""
    query, key, value = xs[:3]
    batch, heads, length, _ = (p.number(n) for n in inputs[0].shape)
    others = p.number(inputs[1].shape[2])
    with p.function() as give:
        groups = heads // p.number(inputs[1].shape[1])
        repeated = [p.ran("repeat", (x,), x.count * groups, dtype) for x in (key, value)]
        q = p.ran("scale", (query,), query.count, dtype)
        k = p.ran("scale", (repeated[0],), repeated[0].count, dtype)
        pairs = batch * heads * length * others
        scores = p.ran("scores", (q, k), pairs, dtype, (q, k))
        masked = p.ran("mask", (scores,), pairs, dtype) if node.attrs["causal"] else scores
        shares = p.ran("softmax", (masked,), pairs, dtype, keeps_result=True)
        factors = (shares, repeated[1])
        result = p.ran("attention", factors, p.number(node.outputs[0].elements), dtype, factors)
        give([result])
    return result


def _rms_norm(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    """The fused kernel needs `x` in the format of the weight; otherwise plain kernels run."""
    (x,) = xs
    weight = p.weight("weight", p.number(inputs[0].shape[-1]))
    rows = x.count // p.number(inputs[0].shape[-1])
    if x.dtype == weight.dtype:
        return [p.ran(node.label or node.op, (x, weight), x.count, x.dtype, (x,), rows * 4, order=x.order)]
    with p.function() as give:
        wide = p.cast(x, "fp32")
        scaled = p.ran("rms_norm", (wide,), x.count, "fp32", (wide,), rows * 4, workspace=wide.size)
        narrow = p.cast(scaled, x.dtype)
        result = p.ran("rms_norm", (narrow, weight), x.count, "fp32", (narrow,))
        give([result])
    return [result]


def _batch_norm(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    (x,) = xs
    channels = p.number(inputs[0].shape[1])
    weights = [p.weight(name, channels) for name in ("weight", "bias")]
    work = 0
    if moving(node):  # `layers.SplitBatchNorm`: plain kernels in fp32
        wide, copies = 4 * x.count, int(x.dtype != "fp32")
        p.ledger.burst((2 + copies) * wide)
        work = (4 + copies) * wide
    return [p.ran(node.label or node.op, (x, *weights), x.count, x.dtype, (x,), channels * 8, workspace=work)]


def _add(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    dtype, count = widest(xs), p.number(node.outputs[0].elements)
    order = next((x.order for x in xs if x.count == count), None)
    tensor = node.outputs[0]
    if tensor.kind != "float":
        return [p.made(count, STORED[tensor.kind])]
    same = all(x.dtype == dtype and x.count == count for x in xs)
    result = p.made(count, dtype, order)
    p.tape.record(node.op, [x for x in xs if x.dtype in FLOATS], (result,), (), alias=same)
    return [result]


def _multiply(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    dtype, count = widest(xs), p.number(node.outputs[0].elements)
    if node.outputs[0].kind != "float":
        return [p.made(count, STORED[node.outputs[0].kind])]
    order = next((x.order for x in xs if x.count == count), None)
    saved = [x for x, other in zip(xs, xs[::-1], strict=True) if other.learns] if len(xs) == 2 else []
    wide = max((count * WIDTH[dtype] for x in xs if x.dtype != dtype or x.count != count), default=0)
    return [p.ran(node.op, [x for x in xs if x.dtype in FLOATS], count, dtype, saved, workspace=wide, order=order)]


def _quick_gelu(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    (x,) = xs
    with p.function() as give:
        inner = p.ran("quick_gelu", (x,), x.count, x.dtype)
        share = p.ran("quick_gelu", (inner,), x.count, x.dtype, keeps_result=True)
        result = p.ran("quick_gelu", (x, share), x.count, x.dtype, (x, share))
        give([result])
    return [result]


def _dropout(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    (x,) = xs
    if not node.attrs["rate"]:
        return [p.view("dropout", x, order=x.order)]
    return [p.ran("dropout", (x,), x.count, x.dtype, (), x.count, order=x.order)]


def _embedding(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    weight = p.weight("weight", p.number(Tensor(node.parameters[0].shape).elements))
    count = p.number(node.outputs[0].elements)
    return [p.ran(node.label or node.op, (weight,), count, weight.dtype, (xs[0],))]


def _parameter(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    return [p.weight("weight", p.number(node.outputs[0].elements))]


def _rope(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    """`layers.rope`: fp32 halves; backward keeps nothing."""
    (x,) = xs
    half = x.count // 2
    with p.function() as give:
        wide = p.cast(x, "fp32")
        parts = [p.view("rope", wide, half, copies=True) for _ in range(2)]
        turned = []
        for _ in range(2):
            with p.function() as hand:
                product = p.ran("rope", (parts[0],), half, "fp32")
                turn = p.ran("rope", (product, parts[1]), half, "fp32")
                hand([turn])
            turned.append(turn)
        joined = p.ran("rope", turned, x.count, "fp32")
        result = p.cast(joined, x.dtype)
        give([result])
    return [result]


def _views(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    return [
        p.view(node.op, xs[0], p.number(tensor.elements), copies=node.op in ("split", "slice", "select", "expand"))
        for tensor in node.outputs
    ]


def _transpose(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    rank = len(inputs[0].shape)
    order = list(range(rank))
    i, j = node.attrs["first"] % rank, node.attrs["second"] % rank
    order[i], order[j] = order[j], order[i]
    return [p.view("transpose", xs[0], order=tuple(order))]


def _rearrange(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    """A view where each merged dimension lies in one piece, else a copy."""
    (x,) = xs
    left, right = parse(node.attrs["pattern"])
    sizes = axis_sizes(inputs[0], left, {k: v for k, v in node.attrs.items() if k != "pattern"})
    groups = [left[i] for i in x.order] if x.order is not None and len(x.order) == len(left) else list(left)
    lying = [axis for group in groups for axis in group if sizes[axis] != 1]
    merged = [[axis for axis in group if sizes[axis] != 1] for group in right]
    at = {axis: i for i, axis in enumerate(lying)}
    whole = all(at[b] == at[a] + 1 for group in merged for a, b in pairwise(group))
    if not whole:
        return [p.ran("rearrange", (x,), x.count, x.dtype)]
    firsts = [at[group[0]] if group else -1 for group in merged]
    order: Order = tuple(sorted(range(len(firsts)), key=lambda i: firsts[i]))
    return [p.view("rearrange", x, order=None if order == tuple(range(len(order))) else order)]


def _concat(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    dtype = widest(xs)
    cast = [p.cast(x, dtype) for x in xs]
    kind = dtype if node.outputs[0].kind == "float" else STORED[node.outputs[0].kind]
    result = p.made(p.number(node.outputs[0].elements), kind)
    p.tape.record("concat", [x for x in cast if x.dtype in FLOATS], (result,), (), alias=True)
    return [result]


def _constant(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    x = xs[0]
    p.scope.append(p.ledger.hold(x.storage))
    return [Fake(x.storage, x.count, x.dtype, x.order)]


def _float_cast(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    tensor = node.outputs[0]
    if tensor.kind == "float" and xs[0].dtype in FLOATS:
        return [p.cast(xs[0], "fp32")]
    return [p.made(xs[0].count, STORED[tensor.kind])]


def _cross_entropy(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    """`layers.cross_entropy`: fp32 of some rows at a time, in backward twice of them (difference and exponential)."""
    logits, targets = xs
    classes = p.number(inputs[0].shape[-1])
    rows = logits.count // classes
    part = min(rows, max(1, ROOM // classes)) * classes * 4
    several = rows * classes > part // 4
    wide = logits.dtype != "fp32"
    if logits.order is not None:
        logits = p.ran("contiguous", (logits,), logits.count, logits.dtype)
    with p.function() as give:
        p.made(rows, "fp32")
        p.made(rows, "fp32")
        p.ledger.burst(part * (1 + several) if wide else 0)
        own = rows * (1 + 8 + 4) + 8
        work = part * (1 + wide + several)
        result = p.ran("cross_entropy", (logits,), 1, "fp32", (logits, targets), own, workspace=work + logits.size)
        give([result])
    return [result]


def _mean(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    (x,) = xs
    count = p.number(node.outputs[0].elements)
    return [p.ran(node.op, (x,), count, x.dtype if x.dtype in FLOATS else "fp32")]


def _dispatch(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    x = xs[0]
    rows, width = p.number(node.outputs[0].shape[0]), p.number(inputs[0].shape[-1])
    with p.function() as give:
        p.made(rows, "int64")
        order, sizes = p.made(rows, "int64"), p.made(p.number(node.outputs[1].elements), "int64")
        place = p.made(rows, "int64")
        result = p.ran("dispatch", (x,), rows * width, x.dtype, (place,))
        give([result, sizes, order])
    return [result, sizes, order]


def _expert_linear(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    rows, _ = xs
    count = p.number(Tensor(node.parameters[0].shape).elements)
    with p.function() as give:
        low = p.cast(rows, p.low)
        weight = p.cast(p.weight("weight", count), p.low)
        if weight.storage.kind == "transient":
            p.ledger.turn(weight.storage, "copies")
        size = p.number(node.outputs[0].elements)
        result = p.ran(node.label or node.op, (low, weight), size, p.low, (low, weight), product=True)
        give([result])
    return [result]


def _combine(p: Player, node: Node, xs: Sequence[Fake], inputs: Sequence[Tensor]) -> list[Fake]:
    rows, order, weights = xs
    with p.function() as give:
        place = p.made(order.count, "int64")
        chosen = p.ran("combine", (rows,), rows.count, rows.dtype, (place,))
        narrow = p.cast(weights, rows.dtype)
        product = p.ran("combine", (chosen, narrow), rows.count, rows.dtype, (chosen, narrow), workspace=rows.size)
        dtype = "fp32" if p.low != "fp32" else rows.dtype
        result = p.ran("combine", (product,), p.number(node.outputs[0].elements), dtype)
        give([result])
    return [result]


KERNELS: dict[str, Kernel] = {
    "linear": _linear,
    "conv2d": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    "add": _add,
    "subtract": _add,
    "multiply": _multiply,
    "quick_gelu": _quick_gelu,
    "dropout": _dropout,
    "embedding": _embedding,
    "parameter": _parameter,
    "rope": _rope,
    "flatten": _views,
    "expand": _views,
    "split": _views,
    "slice": _views,
    "select": _views,
    "transpose": _transpose,
    "rearrange": _rearrange,
    "concat": _concat,
    "stop_gradient": _constant,
    "cast": _float_cast,
    "cross_entropy": _cross_entropy,
    "mean": _mean,
    "global_average_pool": _mean,
    "dispatch": _dispatch,
    "expert_linear": _expert_linear,
    "combine": _combine,
}
