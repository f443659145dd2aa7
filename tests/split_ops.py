"""Runs an op as the ranks of one axis would, in one process: cuts what goes in, joins what comes out, both ways.

A row is right if what the ranks compute, joined by the types of the outputs, is what one process computes, and if
the same holds for gradients: each rank gets the gradient of its outputs as their types promise it, and gradients of
inputs and parameters are joined by the types of those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Barrier, Thread
from typing import Any

import torch
from torch import nn

from dskc.compiler.dims import Dim, substitute
from dskc.compiler.node import Node, Parameter, Tensor
from dskc.compiler.ops.base import kept
from dskc.compiler.ops.sharding import AXES
from dskc.compiler.placement import Axis as AxisName
from dskc.compiler.placement import Place, Row
from dskc.runtime import collectives, layers
from dskc.runtime.mesh import Axis

from .op_samples import Sample, Trial, actual, as_tuple, infer

LOCAL = {"B": 2, "S": 8}


def sizes_of(axis: str, size: int) -> dict[str, int]:
    """Sizes of one process: the batch is that of all ranks of the data axis."""
    return {**LOCAL, "B": LOCAL["B"] * size} if axis == "data" else LOCAL


def local_shape(shape: tuple[Any, ...], place: Place, axis: str, size: int) -> tuple[Any, ...]:
    """Shape on one rank; on the data axis the symbol of the batch stays."""
    if axis == "data":
        return shape
    return tuple(dim // size if i == place.dim else dim for i, dim in enumerate(shape))


def local_node(trial: Trial, axis: AxisName, size: int, row: Row) -> tuple[Node, tuple[Tensor, ...]]:
    """The node of one rank as the sharding pass leaves it, and the types of its inputs."""

    def tensor(x: Tensor, place: Place) -> Tensor:
        return Tensor(local_shape(x.shape, place, axis, size), x.kind)

    def parameter(p: Parameter, place: Place) -> Parameter:
        return replace(p, shape=local_shape(p.shape, place, axis, size), placement={axis: place})

    node = replace(
        trial.node,
        parameters=tuple(map(parameter, trial.node.parameters, row.parameters)),
        placements=tuple({axis: place} for place in row.outputs),
        moves=tuple((axis, move) for move in row.moves),
    )
    node = replace(node, attrs=trial.op.local(node, {axis: size}))
    node = replace(node, outputs=tuple(map(tensor, trial.node.outputs, row.outputs)))
    return node, tuple(map(tensor, trial.types, row.inputs))


def check_local_shapes(trial: Trial, axis: AxisName, size: int, row: Row) -> None:
    """Inference from the inputs and attributes of one rank gives the outputs and parameters of one rank."""
    node, inputs = local_node(trial, axis, size, row)
    inferred = infer(trial.op, trial.names, inputs, dict(node.attrs))
    assert inferred.outputs == node.outputs
    assert inferred.parameters == tuple(replace(p, placement={}) for p in node.parameters)


def cut(value: torch.Tensor, place: Place, size: int) -> list[torch.Tensor]:
    """What each rank holds of a value."""
    if place.dim is not None:
        return list(value.chunk(size, place.dim))
    if place.kind == "P":
        return addends(value, size)
    return [value] * size


def cut_gradient(gradient: torch.Tensor, place: Place, size: int) -> list[torch.Tensor]:
    """What each rank is given of the gradient of a value: parts of it for R, the whole for I and P."""
    if place.dim is not None:
        return list(gradient.chunk(size, place.dim))
    return addends(gradient, size) if place.kind == "R" else [gradient] * size


def addends(value: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Values that add up to one."""
    whole = not value.is_floating_point()
    parts = [torch.randint_like(value, -9, 9) if whole else torch.randn_like(value) for _ in range(size - 1)]
    return [*parts, value - sum(parts)]


def check(found: list[torch.Tensor], place: Place, wanted: torch.Tensor, what: str) -> None:
    """Compares what the ranks have with the value of one process."""
    if place.dim is not None:
        found = [torch.cat(found, place.dim)]
    elif place.kind == "P":
        found = [sum(found[1:], found[0])]
    for each in found:
        torch.testing.assert_close(each, wanted, rtol=1e-9, atol=1e-9, msg=lambda text: f"{what}: {text}")


def check_gradient(found: list[torch.Tensor], place: Place, wanted: torch.Tensor, what: str) -> None:
    dual = {"R": "P", "P": "R"}
    check(found, place if place.dim is not None else Place(dual.get(place.kind, place.kind)), wanted, what)  # type: ignore[arg-type]


class Rank:
    """The op on one rank: `run` gives its outputs, `back` the gradients of inputs and parameters."""

    def __init__(self, trial: Trial, axis: AxisName, size: int, row: Row, index: int) -> None:
        self.trial, self.training = trial, True
        self.mesh_axis = Axis(axis, size)
        self.mesh_axis._join(None, index)
        self.node, self.types = local_node(trial, axis, size, row)
        split = axis == "tensor" or any(place.dim is not None for place in (*row.inputs, *row.outputs))
        self.sizes = LOCAL if split else trial.sizes
        self.scope = {"nn": nn, "torch": torch, "layers": layers, "F": nn.functional, AXES[axis]: self.mesh_axis}
        self.module = None
        if trial.op.module is not None:
            self.module = eval(trial.op.module(self.node), self.scope)

    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        assert self.module is not None
        self.module.load_state_dict({name: value.clone() for name, value in values.items()})

    def run(self, values: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        self.inputs = [v.detach().clone().requires_grad_(v.is_floating_point()) for v in values]
        holder = nn.Module()
        holder.label = self.module  # type: ignore[assignment]
        holder.train(self.training)
        variadic = bool(self.trial.op.tensors) and self.trial.op.tensors[0].startswith("*")
        names = [f"xs_{i}" if variadic else name for i, name in enumerate(self.trial.names)]
        args = {"xs": ", ".join(names)} if variadic else dict(zip(names, names, strict=True))
        text = self.trial.op.emit(self.node, self.types, args | {"B": "B", "S": "S"}, "self.label")
        scope = dict(self.scope)
        exec(f"def forward(self, B, S, {', '.join(names)}):\n    return {text}", scope)
        self.kept: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            self.outputs = as_tuple(scope["forward"](holder, self.sizes["B"], self.sizes["S"], *self.inputs))
        assert [tuple(y.shape) for y in self.outputs] == [actual(t.shape, self.sizes) for t in self.node.outputs]
        return self.outputs

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        own = [] if self.module is None else [p.untyped_storage().data_ptr() for p in self.module.parameters()]
        if tensor.untyped_storage().data_ptr() not in own:
            self.kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def predicted(self) -> int:
        """Bytes that the record of the op says backward keeps on this rank, with floats of 8 bytes."""
        size = {"float": 8, "int": 8, "bool": 1}
        tensors = [tensor for _, tensor in kept(self.trial.op, self.node, self.types)]
        return sum(math.prod(actual(t.shape, self.sizes)) * size[t.kind] for t in tensors)

    def back(self, gradients: list[torch.Tensor | None]) -> list[torch.Tensor]:
        return derivatives(self.outputs, self.inputs, self.module, gradients)


def trained(module: nn.Module | None) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) if module is not None else {}


def derivatives(
    outputs: tuple[torch.Tensor, ...],
    inputs: list[torch.Tensor],
    module: nn.Module | None,
    gradients: list[torch.Tensor | None],
) -> list[torch.Tensor]:
    """Gradients of the float inputs, then of the trained parameters."""
    given = [(y, g) for y, g in zip(outputs, gradients, strict=True) if g is not None]
    wanted = [*(x for x in inputs if x.requires_grad), *trained(module).values()]
    if not given or not wanted:
        return []
    found = torch.autograd.grad([y for y, _ in given], wanted, [g for _, g in given], allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)]


@contextmanager
def meeting(size: int, moved: list[tuple[str, int]]) -> Iterator[Barrier]:
    """Collectives among threads instead of processes; `moved` gets what the first rank calls, and its numbers."""
    slots: list[Any] = [None] * size
    barrier = Barrier(size, timeout=20)

    def all_of(x: torch.Tensor, index: int) -> list[torch.Tensor]:
        slots[index] = x.detach()
        barrier.wait()
        found = list(slots)
        barrier.wait()
        return found

    def add(x: torch.Tensor, ranks: tuple[str, int, int], dims: tuple[int, ...]) -> torch.Tensor:
        if ranks[2] == 0:
            moved.append(("all_reduce", x.numel()))
        return torch.stack(all_of(x, ranks[2])).sum(0)

    def gather(x: torch.Tensor, ranks: tuple[str, int, int], dims: tuple[int, ...]) -> torch.Tensor:
        if ranks[2] == 0:
            moved.append(("all_gather", x.numel()))
        return torch.cat(all_of(x, ranks[2]), dims[0])

    def scatter(x: torch.Tensor, ranks: tuple[str, int, int], dims: tuple[int, ...]) -> torch.Tensor:
        if ranks[2] == 0:
            moved.append(("reduce_scatter", x.numel() // ranks[1]))
        return torch.stack(all_of(x, ranks[2])).sum(0).chunk(ranks[1], dims[0])[ranks[2]]

    usual = dict(collectives._MOVES)
    collectives._MOVES.update(
        all_reduce=add, all_reduce_both=add, all_gather=gather, all_gather_both=gather, reduce_scatter=scatter
    )
    try:
        yield barrier
    finally:
        collectives._MOVES.update(usual)


def together(tasks: list[Any], moves: list[tuple[str, Dim]], sizes: Mapping[str, int]) -> list[Any]:
    """Results of the ranks' tasks: one after the other, each with the same random numbers, or meeting each other.

    What moves is to be what the row says.
    """
    if not moves:
        results = []
        for task in tasks:
            torch.manual_seed(7)
            results.append(task())
        return results
    found: list[Any] = [None] * len(tasks)
    failures: list[BaseException] = []

    def run(index: int) -> None:
        try:
            found[index] = tasks[index]()
        except BaseException as error:
            failures.append(error)
            barrier.abort()  # the others need not wait

    moved: list[tuple[str, int]] = []
    with meeting(len(tasks), moved) as barrier:
        threads = [Thread(target=run, args=(i,), daemon=True) for i in range(len(tasks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    if failures:
        raise failures[0]
    assert moved == [(kind, substitute(size, sizes)) for kind, size in moves]
    return found


def check_row(sample: Sample, axis: AxisName, size: int, row: Row, training: bool = True) -> list[Rank]:
    """Runs a row on all ranks, forward and backward, against one process; the ranks."""
    sizes = sizes_of(axis, size)
    trial = Trial(sample, sizes)
    ranks = [Rank(trial, axis, size, row, index) for index in range(size)]
    whole = [v.detach().clone().requires_grad_(v.is_floating_point()) for v in trial.values]
    trial.values = tuple(whole)
    states: list[dict[str, torch.Tensor]] = [{} for _ in ranks]
    for parameter, place in zip(trial.node.parameters, row.parameters, strict=True):
        assert trial.module is not None
        value = trial.module.state_dict()[parameter.name]
        pieces = [value] * size if place.dim is None else value.chunk(size, place.dim)
        for state, piece in zip(states, pieces, strict=True):
            state[parameter.name] = piece
    for rank, state in zip(ranks, states, strict=True):
        rank.training = training
        if state:
            rank.load(state)
    if trial.module is not None:
        trial.module.train(training)
    torch.manual_seed(7)
    wanted = trial.run()
    given = [cut(value.detach(), place, size) for value, place in zip(whole, row.inputs, strict=True)]
    tasks = [lambda r=rank, i=i: r.run([pieces[i] for pieces in given]) for i, rank in enumerate(ranks)]
    found = together(tasks, [(m.kind, m.forward) for m in row.moves if m.forward] if training else [], LOCAL)
    for i, (value, place) in enumerate(zip(wanted, row.outputs, strict=True)):
        check([outputs[i].detach() for outputs in found], place, value.detach(), f"output {i}")
    _check_buffers(trial, ranks, row)

    gradients = [torch.randn_like(y) if y.requires_grad else None for y in wanted]
    expected = derivatives(wanted, whole, trial.module, gradients)
    shares = [
        [None] * size if g is None else cut_gradient(g, place, size)
        for g, place in zip(gradients, row.outputs, strict=True)
    ]
    backs = [lambda r=rank, i=i: r.back([share[i] for share in shares]) for i, rank in enumerate(ranks)]
    opposite = {"all_gather": "reduce_scatter"}
    moves = [(opposite.get(m.kind, m.kind), m.backward) for m in row.moves if m.backward]
    results = together(backs, moves[::-1] if training else [], LOCAL)
    places = [place for place, x in zip(row.inputs, whole, strict=True) if x.requires_grad]
    named = dict(zip((p.name for p in trial.node.parameters), row.parameters, strict=True))
    places += [named[name] for name in trained(trial.module)]
    for i, (gradient, place) in enumerate(zip(expected, places, strict=bool(expected))):
        check_gradient([result[i] for result in results], place, gradient, f"gradient {i} ({place})")
    return ranks


def _check_buffers(trial: Trial, ranks: list[Rank], row: Row) -> None:
    for parameter, place in zip(trial.node.parameters, row.parameters, strict=True):
        if not parameter.trained and trial.module is not None:
            values = [rank.module.state_dict()[parameter.name] for rank in ranks if rank.module is not None]
            check(values, place, trial.module.state_dict()[parameter.name], parameter.name)
