"""Layers that are split over an axis, on real ranks, eager and compiled, against the layers of one process."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dskc.runtime import layers
from dskc.runtime.mesh import Axis, Mesh

from . import ranks

RANKS = 2
TARGETS = torch.tensor([3, 1, -100, 6, 7, 0, 2, 5])
NAMES = ["cross_entropy", "accuracy", "perplexity", "contrastive", "batch_norm", "linear", "embedding"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(module: nn.Module, **weights: Tensor) -> nn.Module:
    module.load_state_dict(weights, strict=False)
    return module


class Case(nn.Module):
    """A layer on [8, 8]; `axis` None is one process. The layers that split classes or features cut dimension 1."""

    def __init__(self, name: str, axis: Axis | None) -> None:
        super().__init__()
        self.name, self.axis = name, axis
        weight, bias = random(8, 8, seed=3), random(8, seed=4)
        match name, axis:
            case "batch_norm", None:
                self.layer = filled(nn.BatchNorm1d(8), weight=weight[0], bias=bias)
            case "batch_norm", Axis():
                self.layer = filled(layers.SplitBatchNorm(8, axis), weight=weight[0], bias=bias)
            case "linear", None:
                self.layer = filled(nn.Linear(8, 8), weight=weight, bias=bias)
            case "linear", Axis():
                self.layer = filled(layers.RowLinear(4, 8, axis), weight=weight.chunk(2, 1)[axis.index], bias=bias)
            case "embedding", None:
                self.layer = filled(nn.Embedding(8, 8), weight=weight)
            case "embedding", Axis():
                self.layer = filled(layers.SplitEmbedding(4, 8, axis), weight=weight.chunk(2)[axis.index])

    def forward(self, x: Tensor) -> Tensor:
        axis, split = self.axis, () if self.axis is None else (self.axis,)
        match self.name:
            case "cross_entropy" | "accuracy" | "perplexity":
                return getattr(layers, self.name if axis is None else f"split_{self.name}")(x, TARGETS, *split)  # type: ignore[no-any-return]
            case "contrastive":
                function = layers.contrastive if axis is None else layers.split_contrastive
                return function(x, x.flip(1), torch.tensor(0.7), *split)
            case "embedding":
                return self.layer(TARGETS.clamp(min=0)) + 0 * x.sum()  # type: ignore[no-any-return]
        return self.layer(x)  # type: ignore[no-any-return]


def run(name: str, axis: Axis | None, x: Tensor, compiled: bool) -> tuple[Tensor, list[Tensor]]:
    """The result, and the gradients of x and of the parameters; the result's gradient is that of its square's sum."""
    case, x = Case(name, axis), x.detach().clone().requires_grad_()
    function = torch.compile(case, backend="aot_eager", fullgraph=True) if compiled else case
    y = function(x)
    if not y.requires_grad:
        return y, []
    weight = random(*y.shape, seed=9)
    if name == "batch_norm" and axis is not None:
        weight = random(8, 8, seed=9).chunk(2)[axis.index]
    return y.detach(), list(torch.autograd.grad((y * weight).sum(), (x, *case.parameters())))


def on_ranks(name: str, compiled: bool) -> tuple[Tensor, list[Tensor]]:
    mesh = Mesh(tensor=RANKS)
    mesh.start(torch.device("cpu"))
    try:
        axis = mesh.axis("tensor")
        dim = 0 if name in ("contrastive", "batch_norm") else 1
        x = random(8, 8) if name == "embedding" else random(8, 8).chunk(RANKS, dim)[axis.index]
        return run(name, axis, x, compiled)
    finally:
        mesh.stop()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_split_layers_are_those_of_one_process(name: str, compiled: bool) -> None:
    found = ranks.run(on_ranks, RANKS, name, compiled)
    wanted, gradients = run(name, None, random(8, 8), compiled=False)
    results = [result for result, _ in found]
    if name in ("contrastive", "linear", "embedding"):
        results = [results[0] + results[1]]
    elif name == "batch_norm":
        results = [torch.cat(results)]
    for result in results:
        torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-6)
    for i, gradient in enumerate(gradients):
        parts = [each[i] for _, each in found]
        torch.testing.assert_close(_joined(name, i, parts), gradient, rtol=1e-4, atol=1e-6)


def _joined(name: str, number: int, parts: list[Tensor]) -> Tensor:
    """The gradient of one process: blocks side by side, sums, or the same on both."""
    match name, number:
        case "linear", 2:
            assert torch.equal(*parts)
            return parts[0]
        case "batch_norm", 1 | 2:
            return parts[0] + parts[1]
        case ("contrastive" | "batch_norm", 0) | ("embedding", 1):
            return torch.cat(parts)
        case "embedding", 0:
            return parts[0]
    return torch.cat(parts, 1)


def balanced(load: list[list[float]]) -> Tensor:
    """The bias of a router after loads that differ by the data axis; the tensor axis has seen the same tokens."""
    mesh = Mesh(data=2, tensor=2)
    mesh.start(torch.device("cpu"))
    try:
        data = mesh.axis("data")
        router = layers.Router(4, 3, 1, balance=0.5)
        router.load.copy_(torch.tensor(load[data.index]))
        layers.update_router_bias(router, data)
        assert not router.load.any()
        return router.bias
    finally:
        mesh.stop()


def test_loads_of_experts_are_summed_over_the_data_axis() -> None:
    found = ranks.run(balanced, 4, [[6.0, 0.0, 3.0], [0.0, 2.0, 4.0]])  # 6, 2 and 7: two above the mean of 5
    assert [bias.tolist() for bias in found] == [[-0.5, 0.5, -0.5]] * 4
