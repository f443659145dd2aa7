"""What generated kernels are tested with: small models with one group each, and the same in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dskc.compiler.build import check, make_plan
from dskc.compiler.emit.kernels import kernel_file, kernels
from dskc.compiler.fusion.group import Group
from dskc.dsl.source import Source

SPEC = """dsk 1
model small {{
  dim: {columns}
  forward(tokens: int[B, S], targets: int[B, S]) {{
    x = embedding(tokens, size: data.vocab, dim: dim) as one
    y = embedding(tokens, size: data.vocab, dim: dim) as two
    {forward}
    loss cross_entropy(linear(z, out: data.vocab) as head, targets)
  }}
}}
data {{ source: random(), vocab: 64, sequence: 16 }}
precision {{ compute: {compute} }}
training {{ steps: 1, micro_batch_size: 2, kernels: generated }}
"""


@dataclass(frozen=True)
class Case:
    """`forward` makes z of x and y; `torch` is the same of the group's inputs in their order."""

    name: str
    forward: str
    torch: Callable[..., Any]


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], weight, 1e-6)


def layer(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)


def residual(norm: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda x, y, *weights: (x + y, norm(x + y, *weights))


CASES = (
    Case("rms_norm", "n = rms_norm(x) as norm\n    z = linear(n, out: dim) + y", rms),
    Case("unused", "z = rms_norm(x + 0 * y)", lambda y, x, w: rms(x + 0 * y, w)),
    Case("layer_norm", "n = layer_norm(x) as norm\n    z = linear(n, out: dim) + y", layer),
    Case("add_rms_norm", "h = x + y\n    z = linear(rms_norm(h) as norm, out: dim) + h", residual(rms)),
    Case("add_layer_norm", "h = x + y\n    z = linear(layer_norm(h) as norm, out: dim) + h", residual(layer)),
    Case("silu_gate", "z = silu(x) * y", lambda x, y: F.silu(x) * y),
    Case("gelu_gate", "z = gelu(x) * y", lambda x, y: F.gelu(x) * y),
    Case("tanh_gate", "z = gelu(x, approximate: tanh) * y", lambda x, y: F.gelu(x, approximate="tanh") * y),
    Case("bias_gelu", "z = gelu(linear(x, out: dim, bias: true)) * 1 + y", lambda p, y, b: F.gelu(p + b) + y),
    Case("bias_relu", "z = relu(linear(x + y, out: dim, bias: true))", lambda p, b: F.relu(p + b)),
    Case(
        "own_block",
        "c = x - mean(x, dim: -1, keep: true)\n    z = tanh(c) * sigmoid(y) / sqrt(1 + c * c) - leaky_relu(y)",
        lambda x, y: (c := x - x.mean(-1, keepdim=True)).tanh() * y.sigmoid() / (1 + c * c).sqrt() - F.leaky_relu(y),
    ),
    Case("own_softmax", "z = softmax(x / 3) * exp(-abs(y))", lambda x, y: (x / 3).softmax(-1) * torch.exp(-y.abs())),
    Case(
        "own_norm",
        "z = normalize(x) + quick_gelu(y)",
        lambda x, y: F.normalize(x, dim=-1) + y * torch.sigmoid(1.702 * y),
    ),
    Case(
        "own_largest",
        "z = x / (2 + max(abs(x), dim: -1, keep: true)) * softplus(y)",
        lambda x, y: x / (2 + x.abs().amax(-1, keepdim=True)) * F.softplus(y),
    ),
)
BY_NAME = {case.name: case for case in CASES}


@dataclass(frozen=True)
class Made:
    """The text of `kernels.py` for one case, the group, and the function to call."""

    text: str
    group: Group
    function: str


def made(case: Case, columns: int, compute: str = "fp32") -> Made:
    """The largest group of a case, with its kernel."""
    source = Source("case.dsk", SPEC.format(columns=columns, forward=case.forward, compute=compute))
    checked = check(source)
    assert checked.spec is not None, list(checked.sink)
    assert checked.lowered is not None, list(checked.sink)
    plan = make_plan(checked.spec, checked.lowered)
    group = max(plan.groups, key=lambda group: len(group.nodes))
    found = kernels(checked.spec, plan)
    name = found.calls[group.body, group.last]
    (text,) = kernel_file(found, f"kernels.{name}(", plan.name, "case.dsk", "dskc.runtime").values()
    return Made(text, group, name)


def tensors(group: Group, rows: int, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Random inputs of a group: [2, rows, columns], and vectors around 1."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"tile": (2, rows, group.columns), "row": (2, rows, 1), "vector": (group.columns,)}
    found = []
    for leaf in group.inputs:
        values = torch.randn(shapes[leaf.kind], generator=generator, dtype=torch.float64)
        found.append((1 + 0.5 * values if leaf.kind == "vector" else 1.5 * values).to(dtype))
    return found
