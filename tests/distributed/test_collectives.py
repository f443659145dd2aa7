"""Each collective against what its types mean: with the values of all ranks at hand, in float64, to second order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch.distributed.tensor.debug import CommDebugMode

from dskc.compiler.placement import CONVERSIONS
from dskc.runtime import collectives
from dskc.runtime.errors import RunError
from dskc.runtime.mesh import Axis, Mesh

from . import ranks

CPU = torch.device("cpu")
SHAPE = (4, 8, 12)
CASES = [
    ("all_reduce", ()),
    ("all_reduce_both", ()),
    *((name, (dim,)) for name in ("reduce_scatter", "all_gather", "all_gather_both") for dim in (0, 1, -1)),
    *((name, (dim,)) for name in ("split", "split_both") for dim in (0, 1, -1)),
    *(("all_to_all", dims) for dims in ((0, 1), (1, 0), (2, 1), (1, -1))),
    ("copy", ()),
    ("share", ()),
]
WORDS = {"all_reduce": "all_reduce", "all_gather_into_tensor": "all_gather",
         "reduce_scatter_tensor": "reduce_scatter", "all_to_all_single": "all_to_all"}  # fmt: skip


@contextmanager
def tensor_axis(size: int) -> Iterator[Axis]:
    mesh = Mesh(data=dist.get_world_size() // size, tensor=size)
    mesh.start(CPU)
    try:
        yield mesh.axis("tensor")
    finally:
        mesh.stop()


def value(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """What rank `seed` holds; its memory is not contiguous."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape[:-1], shape[-1] * 2, generator=generator, dtype=torch.float64)[..., ::2]


def moves(recorded: CommDebugMode) -> list[str]:
    return [WORDS[str(op).rpartition(".")[2]] for op, n in recorded.get_comm_counts().items() for _ in range(n)]


def one_case(name: str, dims: tuple[int, ...], size: int) -> tuple[Tensor, ...]:
    """Input, output, a gradient of it, the input's gradient, and the collectives of both directions."""
    with tensor_axis(size) as axis:
        x = value(dist.get_rank()).requires_grad_()
        with CommDebugMode() as forward:
            y = getattr(collectives, name)(x, axis, *dims)
        gradient = value(100 + dist.get_rank(), tuple(y.shape))
        with CommDebugMode() as backward:
            (back,) = torch.autograd.grad(y, x, gradient)
        assert y.is_contiguous() or name == "copy"
        return x.detach(), y.detach(), gradient, back, moves(forward), moves(backward)  # type: ignore[return-value]


def meaning(name: str, dims: tuple[int, ...]) -> Callable[[list[Tensor]], list[Tensor]]:
    """What each move makes of the values of all ranks."""

    def block(whole: Tensor, rank: int, n: int, dim: int) -> Tensor:
        return whole.tensor_split(n, dim)[rank]

    def run(x: list[Tensor]) -> list[Tensor]:
        n = len(x)
        match name:
            case "sum":
                return [sum(x[1:], x[0])] * n
            case "sum_block":
                return [block(sum(x[1:], x[0]), r, n, dims[0]) for r in range(n)]
            case "gather":
                return [torch.cat(x, dims[0])] * n
            case "block":
                return [block(x[r], r, n, dims[0]) for r in range(n)]
            case "exchange":
                return [block(torch.cat(x, dims[0]), r, n, dims[1]) for r in range(n)]
            case "first":
                return [x[0], *(torch.zeros_like(x[0]) for _ in range(n - 1))]
            case "place":
                zero = torch.zeros_like(x[0])
                return [torch.cat([x[r] if i == r else zero for i in range(n)], dims[0]) for r in range(n)]
        assert name == "same"
        return x

    return run


MEANINGS = {
    "all_reduce": ("sum", "same"),
    "all_reduce_both": ("sum", "sum"),
    "reduce_scatter": ("sum_block", "gather"),
    "all_gather": ("gather", "block"),
    "all_gather_both": ("gather", "sum_block"),
    "all_to_all": ("exchange", "exchange"),
    "copy": ("same", "sum"),
    "split": ("block", "gather"),
    "split_both": ("block", "place"),
    "share": ("first", "same"),
}


@pytest.mark.parametrize(("name", "dims"), CASES, ids=str)
@pytest.mark.parametrize(("size", "world"), [(2, 2), (4, 4), (2, 4)])
def test_values_gradients_and_moves(name: str, dims: tuple[int, ...], size: int, world: int) -> None:
    found = ranks.run(one_case, world, name, dims, size)
    conversion = next(entry for entry in CONVERSIONS.values() if entry.name == name)
    forward, backward = MEANINGS[name]

    for group in [found[start : start + size] for start in range(0, world, size)]:
        x, y, gradient, back, forward_moves, backward_moves = zip(*group, strict=True)
        for got, want in zip(y, meaning(forward, dims)(list(x)), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-14, atol=1e-14)
        for got, want in zip(back, meaning(backward, dims[::-1])(list(gradient)), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-14, atol=1e-14)
        assert all(one == ([conversion.forward] if conversion.forward else []) for one in forward_moves)
        assert all(one == ([conversion.backward] if conversion.backward else []) for one in backward_moves)


def test_the_table_is_complete() -> None:
    assert {entry.name for entry in CONVERSIONS.values()} == set(MEANINGS) == {name for name, _ in CASES}


# Functions of a whole x that gives a whole y, on one process and on the ranks of an axis.
Chain = tuple[Callable[[Tensor, int], Tensor], Callable[[Tensor, Axis], Tensor]]


def weight(rank: int) -> Tensor:
    return value(50 + rank)


CHAINS: dict[str, Chain] = {
    "copy, all_reduce": (
        lambda x, n: sum(((weight(r) * x) ** 3 for r in range(n)), torch.zeros(())),
        lambda x, axis: collectives.all_reduce((weight(axis.index) * collectives.copy(x, axis)) ** 3, axis),
    ),
    "split, all_gather": (
        lambda x, n: x.sin() ** 3,
        lambda x, axis: collectives.all_gather(collectives.split(x, axis, 1).sin() ** 3, axis, 1),
    ),
    "split, all_to_all, all_gather": (
        lambda x, n: x.exp().sin(),
        lambda x, axis: collectives.all_gather(
            collectives.all_to_all(collectives.split(x, axis, 1).exp(), axis, 1, 2).sin(), axis, 2
        ),
    ),
    "split, all_gather_both, reduce_scatter, all_gather": (
        lambda x, n: sum(((weight(r) * x**3).sin() for r in range(n)), torch.zeros(())) ** 2,
        lambda x, axis: collectives.all_gather(
            collectives.reduce_scatter(
                (weight(axis.index) * collectives.all_gather_both(collectives.split(x, axis, 0) ** 3, axis, 0)).sin(),
                axis,
                1,
            )
            ** 2,
            axis,
            1,
        ),
    ),
    "copy, split_both, all_gather": (
        lambda x, n: (x**3).cos(),
        lambda x, axis: collectives.all_gather(
            collectives.split_both(collectives.copy(x, axis) ** 3, axis, 2).cos(), axis, 2
        ),
    ),
    "share, all_reduce_both, all_reduce": (
        lambda x, n: sum(((weight(r) * x.sin()) ** 3 for r in range(n)), torch.zeros(())),
        lambda x, axis: collectives.all_reduce(
            (weight(axis.index) * collectives.all_reduce_both(collectives.share(x.sin(), axis), axis)) ** 3, axis
        ),
    ),
    "share, reduce_scatter, all_gather": (
        lambda x, n: x.sin() ** 3,
        lambda x, axis: collectives.all_gather(
            collectives.reduce_scatter(collectives.share(x.sin(), axis), axis, 0) ** 3, axis, 0
        ),
    ),
}


def orders(call: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """A value, its gradient, and the gradients of two functions of that."""
    x = value(7).requires_grad_()
    y = call(x)
    (first,) = torch.autograd.grad((y * value(8)).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first * value(9)).sum(), x, create_graph=True)
    (third,) = torch.autograd.grad((second**2).sum(), x)
    return [tensor.detach() for tensor in (y, first, second, third)]


def one_chain(name: str) -> list[Tensor]:
    with tensor_axis(dist.get_world_size()) as axis:
        return orders(lambda x: CHAINS[name][1](x, axis))


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("size", [2, 4])
def test_gradients_of_gradients(name: str, size: int) -> None:
    want = orders(lambda x: CHAINS[name][0](x, size))

    for rank in ranks.run(one_chain, size, name):
        for got, expected in zip(rank, want, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


def test_an_axis_of_one_rank_is_the_identity() -> None:
    axis = Mesh().axis("tensor")
    x = value(0)

    for name, dims in CASES:
        assert getattr(collectives, name)(x, axis, *dims) is x


def not_in_equal_blocks() -> list[str]:
    messages = []
    with tensor_axis(2) as axis:
        for name, dims in [("split", (1,)), ("split_both", (-2,)), ("reduce_scatter", (1,)), ("all_to_all", (0, 1)),
                           ("all_gather", (3,))]:  # fmt: skip
            with pytest.raises(RunError) as caught:
                getattr(collectives, name)(torch.zeros(4, 7, 2), axis, *dims)
            messages.append(str(caught.value))
    return messages


def test_uneven_blocks_are_named() -> None:
    *uneven, beyond = ranks.run(not_in_equal_blocks, 2)[0]

    for message in uneven:
        assert "dimension 1 of a tensor [4, 7, 2] cannot be cut into 2 equal blocks" in message
    assert beyond == "all_gather over the tensor axis: a tensor [4, 7, 2] has no dimension 3"


def compiled() -> tuple[Any, ...]:
    """All functions in one graph: compiled without a break, with the collectives of the eager run."""
    with tensor_axis(2) as axis:

        def net(x: Tensor) -> Tensor:
            h = collectives.all_reduce(collectives.copy(x, axis).sin(), axis)
            h = collectives.all_gather_both(collectives.split(h, axis, 1).cos(), axis, 1)
            h = collectives.all_to_all(collectives.split_both(h.sin(), axis, 0), axis, 0, 1)
            h = collectives.share(collectives.all_gather(h.exp(), axis, 1), axis)
            h = collectives.all_gather_both(collectives.reduce_scatter(h, axis, 0).sin(), axis, 0)
            return collectives.all_reduce_both(h.cos(), axis).sum()

        found: list[str] = []

        def count(graph: torch.fx.GraphModule, inputs: Any) -> Any:
            names = [str(node.target).partition(".")[2].partition(".")[0] for node in graph.graph.nodes]
            found.extend(WORDS[name] for name in names if name in WORDS)
            return make_boxed_func(graph.forward)

        backend = aot_autograd(fw_compiler=count, partition_fn=min_cut_rematerialization_partition)
        results = []
        for call in (net, torch.compile(net, backend=backend, fullgraph=True)):
            x = value(3).requires_grad_()
            y = call(x)
            y.backward()
            results += [y.detach(), x.grad]
        return *results, found


def test_compiles_without_a_break() -> None:
    for y, gradient, compiled_y, compiled_gradient, found in ranks.run(compiled, 2):
        torch.testing.assert_close(compiled_y, y, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-14, atol=1e-14)
        assert len(found) == 14  # 7 forward, 7 backward, on each rank
