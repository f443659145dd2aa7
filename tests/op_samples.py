"""One or more sample calls of every op: the table that drives tests of shapes, saved tensors, FLOPs and emission."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dskc.compiler.dims import substitute, symbol
from dskc.compiler.node import Node, Tensor
from dskc.compiler.ops import OPS
from dskc.compiler.ops.base import REQUIRED, Inferred, Op
from dskc.dsl.source import Source, Span
from dskc.runtime import layers

SIZES = {"B": 2, "S": 6}
SPAN = Span(Source("sample.dsk", ""), 0, 0)


@dataclass(frozen=True)
class Sample:
    """`inputs` are texts such as "x: B S 16" or "targets: int B S < 10" (below 10), "m: bool S"."""

    op: str
    inputs: tuple[str, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    expression: str | None = None

    def __str__(self) -> str:
        return f"{self.op}({', '.join(self.inputs)}; {self.attrs})"


def s(op: str, *inputs: str, expression: str | None = None, **attrs: Any) -> Sample:
    return Sample(op, inputs, attrs, expression)


UNARY = (
    *("relu", "silu", "tanh", "sigmoid", "softplus", "exp", "log", "sqrt"),
    *("rsqrt", "abs", "sin", "cos", "quick_gelu", "gelu", "leaky_relu", "negate"),
)
BINARY = ("add", "subtract", "multiply", "divide", "power")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
B, S = symbol("B"), symbol("S")

SAMPLES: tuple[Sample, ...] = (
    s("linear", "x: B S 16", out=8),
    s("linear", "x: B 16", out=8, bias=True, expression="self.label(x)"),
    s("embedding", "x: int B S < 10", size=10, dim=16),
    s("positions", "x: int B S < 10", expression="torch.arange(x.shape[1], device=x.device)"),
    s("parameter", shape=(1, 5, 16)),
    s("parameter", shape=(), init="constant", value=2.6592),
    s("conv2d", "x: B 3 8 8", out=6, kernel=3, padding=1),
    s("conv2d", "x: B 4 9 8", out=6, kernel=3, stride=2, groups=2, bias=True),
    s("rms_norm", "x: B S 16"),
    s("layer_norm", "x: B S 16"),
    s("layer_norm", "x: B S 16", bias=False),
    s("group_norm", "x: B 6 4 4", groups=3),
    s("batch_norm", "x: B 6 4 4"),
    s("batch_norm", "x: B 6"),
    *(s(name, "x: B S 16") for name in UNARY),
    s("gelu", "x: B 4", approximate="tanh", expression='F.gelu(x, approximate="tanh")'),
    *(s(name, "a: B S 16", "b: B S 16") for name in BINARY),
    *(s(name, "a: B S 16", "b: S 1") for name in BINARY),
    *(s(name, "a: B S 16", b=2) for name in BINARY),
    *(s(name, "b: B S 16", a=1.5) for name in BINARY),
    s("add", "a: int B S < 5", b=1),
    s("multiply", "a: B S 16", "b: int B S 16 < 5"),
    *(s(name, "a: B S", "b: B S") for name in COMPARISONS),
    s("less", "a: int B S < 9", b=4, expression="a < 4"),
    s("logical_and", "a: bool B S", "b: bool S"),
    s("logical_or", "a: bool B S", "b: bool S"),
    s("logical_not", "x: bool B S", expression="~x"),
    s("where", "condition: bool B S", "a: B S", "b: S"),
    s("where", "condition: bool B S", "a: B S", b=0),
    s("clamp", "x: B S", min=-1, max=0.5),
    s("clamp", "x: int B S < 9", min=3, expression="x.clamp(min=3)"),
    s("cast", "x: B S", to="int"),
    s("cast", "x: int B S < 3", to="float"),
    s("cast", "x: int B S < 3", to="bool"),
    s("stop_gradient", "x: B S"),
    s("max_pool", "x: B 3 8 8", kernel=3, stride=2, padding=1),
    s("max_pool", "x: B 3 8 8", kernel=2, expression="F.max_pool2d(x, 2)"),
    s("average_pool", "x: B 3 8 8", kernel=2),
    s("global_average_pool", "x: B 3 8 8"),
    s(
        "rearrange",
        "x: B S 16",
        pattern="b s (h d) -> b h s d",
        h=4,
        expression="x.unflatten(-1, (4, 4)).transpose(1, 2)",
    ),
    s("rearrange", "x: B 4 S 4", pattern="b h s d -> b s (h d)", expression="x.transpose(1, 2).flatten(2)"),
    s("rearrange", "x: B 3 8 8", pattern="b c (h p) (w q) -> b (h w) (p q c)", p=4, q=2),
    s("rearrange", "x: B S 4", pattern="b s d -> b 1 s d", expression="x.unsqueeze(1)"),
    s("rearrange", "x: B 1 S 4", pattern="b 1 s d -> (b s) d 1"),
    s("rearrange", "x: B S 4", pattern="b s d -> b s d", expression="x"),
    s("rearrange", "x: B S 12", pattern="b s (k h d) -> k b h s d", k=3, h=2),
    s("rope", "x: B 4 S 8", expression="layers.rope(x, theta=10000.0)"),
    s("rope", "x: B S 4 8", theta=500_000, interleaved=True, sequence=1),
    s("rope", "x: B 4 S 8", scaling="llama3"),
    s("rope", "x: B 4 S 8", scaling="yarn", factor=4.0, original=512, high=32.0),
    s("rope", "x: B 4 S 8", scaling="linear", factor=2.0),
    s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 4 S 8", "value: B 4 S 8", causal=True),
    s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 2 S 8", "value: B 2 S 8", causal=True, scale=0.5),
    s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 4 3 8", "value: B 4 3 8"),
    s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 4 S 8", "value: B 4 S 8", "mask: bool S S"),
    s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 4 S 8", "value: B 4 S 4"),
    s("softmax", "x: B S", expression="x.softmax(-1)"),
    s("log_softmax", "x: B S 4", dim=1),
    s("normalize", "x: B 8"),
    s("dropout", "x: B S 8", rate=0.5),
    s("dropout", "x: B S 8", rate=0.0, expression="x"),
    s("matmul", "a: B 3 S 4", "b: B 3 4 S", expression="a @ b"),
    s("matmul", "a: B S 4", "b: 4 5"),
    s("transpose", "x: B S 4", expression="x.transpose(-2, -1)"),
    s("flatten", "x: B 3 4 4", expression="x.flatten(1)"),
    s("flatten", "x: B 3 4 4", start=0, end=1),
    s("expand", "x: 1 1 8", shape=(B, 1, 8), expression="x.expand(B, -1, -1)"),
    s("expand", "x: B 1 S 4", shape=(B, 3, S, 4), expression="x.expand(-1, 3, -1, -1)"),
    s("expand", "x: 1 4", shape=(B, 2 * S + 1, 4)),
    s("concat", "xs: B S 4", "xs: B S 8", expression="torch.cat((xs_0, xs_1), -1)"),
    s("concat", "xs: B 1 4", "xs: B S 4", dim=1),
    s("split", "x: B S 12", sizes=(8, 4), expression="x.split([8, 4], -1)"),
    s("split", "x: B 12 S", sizes=(3, 3, 6), dim=1),
    s("slice", "x: B S 12", start=2, stop=-1, expression="x[:, :, 2:-1]"),
    s("slice", "x: B S 12", dim=1, stop=-1, expression="x[:, :-1]"),
    s("slice", "x: B S 12", dim=1, start=-3),
    s("select", "x: B S 12", dim=1, expression="x[:, 0]"),
    s("select", "x: B S 12", index=-1, expression="x[:, :, -1]"),
    s("shift", "x: B S 4", by=1, expression="layers.shift(x, 1, dim=1)"),
    s("shift", "x: int B S < 9", by=-2, fill=-100),
    *(s(name, "x: B S 4", dim=(1,)) for name in ("mean", "sum", "max", "min")),
    *(s(name, "x: B S 4", dim=(-1, 0), keep=True) for name in ("mean", "sum", "max", "min")),
    s("mean", "x: B S 4", expression="x.mean()"),
    s("sum", "x: bool B S"),
    s("sum", "x: B S 4", keep=True),
    s("argmax", "x: B S 4", dim=1),
    s("route", "x: B S 8", experts=8, top=2),
    s("route", "x: B S 8", experts=8, top=3, groups=4, kept=2, score="softmax", scale=2.5, normalize=False),
    s("dispatch", "x: B S 8", "chosen: int B S 2 < 4", experts=4),
    s("combine", "rows: 24 8", "order: order 24", "weights: 2 6 2"),
    s("expert_linear", "rows: 24 8", "sizes: sizes 4", out=6),
    s("cross_entropy", "logits: B S 10", "targets: int B S < 10"),
    s("cross_entropy", "logits: B 10", "targets: int B < 10", label_smoothing=0.1, ignore=3),
    s("mse", "prediction: B S", "target: B S"),
    s("binary_cross_entropy", "logits: B S", "targets: B S"),
    s("kl_divergence", "student: B S 10", "teacher: constant B S 10", temperature=2.0),
    s("contrastive", "a: B 8", "b: B 8", "scale:"),
    s("cosine_similarity", "a: B S 8", "b: B S 8"),
    s("accuracy", "logits: B S 10", "targets: int B S < 10"),
    s("top_accuracy", "logits: B 10", "targets: int B < 10", top=3),
    s("perplexity", "logits: B 10", "targets: int B < 10"),
)


class Trial:
    """A sample made concrete: its node, module, real inputs, and the emitted expression."""

    def __init__(self, sample: Sample, sizes: Mapping[str, int] = SIZES) -> None:
        torch.manual_seed(0)
        self.sample, self.op, self.sizes = sample, OPS[sample.op], sizes
        parsed = [_parse(text) for text in sample.inputs]
        self.names = tuple(name for name, *_ in parsed)
        self.types = tuple(Tensor(shape, kind) for _, shape, kind, _ in parsed)
        self.values = tuple(_value(actual(shape, sizes), kind, extra, sample) for _, shape, kind, extra in parsed)
        self.attrs = complete(self.op, sample.attrs)
        self.inferred = infer(self.op, self.names, self.types, self.attrs)
        refs = tuple((f"input_{i}", 0) for i in range(len(parsed)))
        self.node = Node(
            "sample", sample.op, refs, self.inferred.outputs, SPAN, self.attrs, self.names, self.inferred.parameters
        )
        self.module: nn.Module | None = None
        if self.op.module is not None:
            self.module = eval(self.op.module(self.node), {"nn": nn, "torch": torch, "layers": layers})
            for parameter in self.module.parameters():
                nn.init.normal_(parameter)

    def expression(self) -> str:
        variadic = bool(self.op.tensors) and self.op.tensors[0].startswith("*")
        args = {"xs": "xs_0, xs_1"} if variadic else {name: name for name in self.names}
        return self.op.emit(self.node, self.types, args | {"B": "B", "S": "S"}, "self.label")

    def function(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The expression as a function, with its arguments."""
        holder = nn.Module()
        if self.module is not None:
            holder.label = self.module
        variadic = bool(self.op.tensors) and self.op.tensors[0].startswith("*")
        named = {f"xs_{i}" if variadic else n: v for i, (n, v) in enumerate(zip(self.names, self.values, strict=True))}
        scope: dict[str, Any] = {"torch": torch, "nn": nn}
        scope |= {name: {"F": F, "layers": layers}[name] for name in self.op.imports}
        exec(f"def forward(self, B, S, {', '.join(named)}):\n    return {self.expression()}", scope)
        return scope["forward"], (holder, self.sizes["B"], self.sizes["S"], *named.values())

    def run(self) -> tuple[torch.Tensor, ...]:
        forward, arguments = self.function()
        return as_tuple(forward(*arguments))


def as_tuple(result: Any) -> tuple[torch.Tensor, ...]:
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def complete(op: Op, attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes with defaults filled in, as lowering gives them."""
    usual = {a.name: a.default for a in op.attributes if not a.name.startswith("*") and a.default is not REQUIRED}
    return usual | attrs


def infer(op: Op, names: tuple[str, ...], types: tuple[Tensor, ...], attrs: dict[str, Any]) -> Inferred:
    if op.tensors and op.tensors[0].startswith("*"):
        return op.infer({op.tensors[0][1:]: types}, attrs)
    return op.infer(dict(zip(names, types, strict=True)), attrs)


def actual(dims: tuple[Any, ...], sizes: Mapping[str, int] = SIZES) -> tuple[int, ...]:
    return tuple(substitute(dim, sizes) for dim in dims)  # type: ignore[misc]


def _parse(text: str) -> tuple[str, tuple[Any, ...], Any, str]:
    name, _, rest = text.partition(":")
    words = rest.split()
    limit = words[words.index("<") + 1] if "<" in words else ""
    words = words[: words.index("<")] if "<" in words else words
    special = words.pop(0) if words and words[0] in ("int", "bool", "order", "sizes", "constant") else "float"
    shape = tuple(symbol(word) if word.isalpha() else int(word) for word in words)
    kind = {"order": "int", "sizes": "int", "constant": "float"}.get(special, special)
    return name, shape, kind, limit or special


def _value(sizes: tuple[int, ...], kind: str, extra: str, sample: Sample) -> torch.Tensor:
    if extra == "order":
        return torch.randperm(sizes[0])
    if extra == "sizes":
        return torch.tensor([5, 0, 12, 7])
    if kind == "int":
        return torch.randint(0, int(extra), sizes)
    if kind == "bool":
        return (torch.rand(sizes) > 0.3) | torch.eye(sizes[-1], dtype=torch.bool)[-1]
    positive = sample.op in ("log", "sqrt", "rsqrt", "power", "binary_cross_entropy")
    value = torch.rand(sizes) * 0.8 + 0.1 if positive else torch.randn(sizes)
    return value.requires_grad_(extra != "constant")
