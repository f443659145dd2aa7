"""A placed plan computes what the plan computes, and has its gradients: in float64, on threads instead of processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dskc.compiler.plan import Plan
from dskc.dsl.source import Source

from .examples import BOTH, DATA, SEQUENCE, SHARDED, TENSOR, plan_of, source_of
from .interpret import Rank, meeting, mesh, parameters_of, run_ranks

LENGTH, BATCH = 16, 2
SMALL = ("model.dim=64", "model.depth=2")
LM = """dsk 1
import std.transformer
import std.llama
import std.gpt2
import std.clip
model m {
  forward(tokens: int[B, S], targets: int[B, S]) {
    BODY
    loss cross_entropy(logits, targets)
  }
}
data { source: text("{stdlib}/**/*.py"), tokenizer: bytes, sequence: 16 }
training { steps: 10 }
"""
CLIP = """dsk 1
import std.clip
model m {
  forward(images: [B, 3, 16, 16], tokens: int[B, S]) {
    (image, text, scale) = clip(
      images, tokens, vocab: 256, length: 16, out: 32, patch: 8,
      image_dim: 32, image_depth: 1, image_heads: 4, text_dim: 32, text_depth: 1, text_heads: 4,
    )
    loss contrastive(image, text, scale)
  }
}
data { source: random(), vocab: 256, sequence: 16 }
training { steps: 10 }
"""


def language(body: str) -> Source:
    return Source("m.dsk", LM.replace("BODY", body))


SOURCES: dict[str, tuple[Source, tuple[str, ...]]] = {
    "stdlib_gpt": (source_of("stdlib_gpt"), SMALL),
    "deepseek_small": (source_of("deepseek_small"), ()),
    "digits": (source_of("digits"), ()),
    "vit_digits": (source_of("vit_digits"), ()),
    "tied": (language("logits = llama(tokens, vocab: 256, dim: 32, depth: 2, heads: 4, kv_heads: 2, tied: true)"), ()),
    "gpt2": (language("logits = gpt2(tokens, vocab: 256, dim: 32, depth: 2, heads: 4, length: 16)"), ()),
    "post norm": (
        language(
            "x = embedding(tokens, size: 256, dim: 32)\n"
            "repeat 2 as layers { x = post_norm_layer(x, heads: 4, rate: 0) }\nlogits = linear(x, out: 256)"
        ),
        (),
    ),
    "clip": (Source("m.dsk", CLIP), ()),
    "samples that meet": (
        language(
            "x = decoder_layer(embedding(tokens, size: 256, dim: 32), heads: 4)\na = mean(x, dim: 1)\n"
            "b = linear(a, out: 32) as other\nscores = matmul(a, transpose(b))\nlogits = linear(x, out: 256)\n"
            "loss(weight: 0.1) mean(scores * scores) as pairs\nloss mean(softmax(a, dim: 0) * b) as crowd"
        ),
        (),
    ),
    "shared": (
        language(
            "x = embedding(tokens, size: 256, dim: 32)\nx = decoder_layer(x, heads: 4) as one\n"
            "repeat 2 as more { x = decoder_layer(gelu(x), heads: 4) share one }\nlogits = linear(x, out: 256)"
        ),
        (),
    ),
}
LAYOUTS = {"tensor": TENSOR, "sequence": SEQUENCE, "data": DATA, "both": BOTH, "zero": SHARDED}
NO_SEQUENCE = ("digits", "vit_digits")
CASES = [(n, lay) for n in SOURCES for lay in LAYOUTS if not (lay == "sequence" and n in NO_SEQUENCE)]


@pytest.fixture(autouse=True)
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is fp32 in a program is float64 here, so that a wrong type is not taken for rounding."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(usual)


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_ranks_have_the_loss_and_the_gradients_of_one_process(name: str, layout: str) -> None:
    source, overrides = SOURCES[name]
    plan = plan_of(source, *overrides, last="precision")
    placed = plan_of(source, *overrides, *LAYOUTS[layout])
    data, tensor = placed.layout.data, placed.layout.tensor
    torch.manual_seed(0)
    whole, inputs = parameters_of(plan), inputs_of(plan, data * BATCH)
    alone = Rank(plan, {"B": data * BATCH, "S": LENGTH}, mesh(1, 1)[0], whole)
    wanted = alone.losses(inputs)
    sum(wanted[o.name] * o.weight for o in plan.objectives if o.kind == "loss").backward()  # type: ignore[union-attr]

    ranks = [Rank(placed, {"B": BATCH, "S": LENGTH}, axes, whole) for axes in mesh(data, tensor)]

    def step(rank: Rank) -> dict[str, torch.Tensor]:
        row = rank.axes["data"].index
        found = rank.losses({k: v.chunk(data)[row] if v.ndim else v for k, v in inputs.items()})
        sum(found[o.name] * o.weight for o in placed.objectives if o.kind == "loss").backward()  # type: ignore[union-attr]
        return found

    groups = {f"tensor{i}": tensor for i in range(data)} | {f"data{i}": data for i in range(tensor)}
    with meeting(groups):
        results = run_ranks(ranks, step)

    for objective in placed.objectives:
        if objective.kind == "loss":
            rows = [results[row * tensor][objective.name].detach() for row in range(data)]
            close(torch.stack(rows).sum(0), wanted[objective.name], f"loss {objective.name}")
    compare(placed, ranks, alone)


def inputs_of(plan: Plan, batch: int) -> dict[str, torch.Tensor]:
    found = {}
    for node in plan.nodes("forward"):
        if node.op == "input":
            sizes = {"B": batch, "S": LENGTH}
            shape = [dim if isinstance(dim, int) else sizes[str(dim)] for dim in node.outputs[0].shape]
            words = torch.randint(0, 10 if node.name == "labels" else 256, shape)
            found[node.name] = words if node.outputs[0].kind == "int" else torch.randn(shape)
    return found


def compare(placed: Plan, ranks: list[Rank], alone: Rank) -> None:
    """Gradients after the syncs of the plan, joined over the tensor axis, with those of one process."""
    tensor = placed.layout.tensor
    assert set(ranks[0].parameters) == set(alone.parameters)
    summed = {(sync.body, sync.node, sync.parameter, sync.axis) for sync in placed.syncs}
    for path, parameter in alone.parameters.items():
        assert parameter.grad is not None, path
        gradients = [rank.parameters[path].grad for rank in ranks]
        parts = [torch.zeros_like(ranks[i].parameters[path]) if g is None else g for i, g in enumerate(gradients)]
        kinds = {axis for axis in ("data", "tensor") for user in ranks[0].users[path] if (*user, axis) in summed}
        rows = [parts[i : i + tensor] for i in range(0, len(parts), tensor)]
        columns = [torch.stack(list(column)).sum(0) for column in zip(*rows, strict=True)]
        assert "data" in kinds or placed.layout.data == 1
        if "tensor" in kinds:
            columns = [torch.stack(columns).sum(0)] * tensor
        if columns[0].shape != parameter.grad.shape:
            at = next(d for d, n in enumerate(columns[0].shape) if n != parameter.grad.shape[d])
            columns = [torch.cat(columns, at)]
        for found in columns:
            close(found, parameter.grad, ".".join(path))


def close(found: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11, msg=lambda text: f"{what}: {text}")
