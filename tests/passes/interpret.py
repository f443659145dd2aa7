"""Runs a plan node by node: on one rank, or on the ranks of a mesh, which are threads that meet in collectives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier, Thread
from typing import Any

import torch
from torch import nn

from dskc.compiler.dims import Poly, substitute, symbols
from dskc.compiler.node import Node, Value
from dskc.compiler.ops import OPS
from dskc.compiler.placement import CONVERSIONS
from dskc.compiler.plan import Plan
from dskc.runtime import collectives, layers
from dskc.runtime.mesh import Axis

from ..op_samples import as_tuple

Path = tuple[str, ...]


@dataclass
class Rank:
    """One rank: its place on the axes, its parameters by path and who uses them, and what it computes."""

    plan: Plan
    sizes: Mapping[str, int]
    axes: Mapping[str, Axis]
    whole: Mapping[Path, torch.Tensor]
    parameters: dict[Path, nn.Parameter] = field(default_factory=dict)
    users: dict[Path, set[tuple[str, str, str]]] = field(default_factory=dict)

    def losses(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The objectives of the model."""
        given = [inputs[node.name] for node in self.plan.nodes("forward") if node.op == "input"]
        values = self._values("forward", given, (), ())
        return {o.name: values[o.value] for o in self.plan.objectives}

    def _values(
        self, body: str, inputs: list[torch.Tensor], path: Path, around: tuple[tuple[str, Path], ...]
    ) -> dict[Value, torch.Tensor]:
        found: dict[Value, torch.Tensor] = {}
        given = iter(inputs)
        chain = (*around, (body, path))
        for node in self.plan.nodes(body):
            arguments = [found[value] for value in node.inputs]
            if node.op == "input":
                results: tuple[torch.Tensor, ...] = (next(given),)
            elif node.op == "collective":
                results = (self._collective(node, arguments[0]),)
            elif node.body is not None:
                results = self._call(node, arguments, chain)
            else:
                results = self._op(body, node, arguments, chain)
            found |= {(node.name, i): tensor for i, tensor in enumerate(results)}
        return found

    def _owner(self, node: Node, chain: tuple[tuple[str, Path], ...]) -> Path:
        """The path of the parameters that a node uses."""
        path = chain[-1][1]
        if node.share is None:
            return (*path, node.label or node.name)
        ups = sum(step == "^" for step in node.share)
        return (*chain[len(chain) - 1 - ups][1], *node.share[ups:])

    def _call(
        self, node: Node, arguments: list[torch.Tensor], chain: tuple[tuple[str, Path], ...]
    ) -> tuple[torch.Tensor, ...]:
        assert node.body is not None
        carried = node.attrs["carried"] if node.op == "repeat" else 0
        results: tuple[torch.Tensor, ...] = ()
        for index in range(node.count):
            owner = self._owner(node, chain)
            path = (*owner, str(index)) if node.op == "repeat" else owner
            values = self._values(node.body, arguments, path, chain)
            results = tuple(values[value] for value in self.plan.results[node.body])
            arguments = [*results[:carried], *arguments[carried:]]
        return results

    def _collective(self, node: Node, x: torch.Tensor) -> torch.Tensor:
        source, target = node.attrs["source"], node.attrs["target"]
        function = getattr(collectives, CONVERSIONS[source.kind, target.kind].name)
        dims = [place.dim for place in (source, target) if place.dim is not None]
        result: torch.Tensor = function(x, self.axes[node.attrs["axis"]], *dims)
        return result

    def _op(
        self, body: str, node: Node, arguments: list[torch.Tensor], chain: tuple[tuple[str, Path], ...]
    ) -> tuple[torch.Tensor, ...]:
        op = OPS[node.op]
        scope: dict[str, Any] = {"nn": nn, "torch": torch, "layers": layers, "F": nn.functional}
        scope |= {"TENSOR": self.axes["tensor"], "DATA": self.axes["data"]}
        holder = nn.Module()
        if op.module is not None:
            holder.label = eval(op.module(node), scope)
            for parameter in node.parameters:
                if parameter.trained:
                    owner = (*self._owner(node, chain), parameter.name)
                    if owner not in self.whole:  # tied to another call that does not have it
                        owner = (*chain[-1][1], node.label or node.name, parameter.name)
                    setattr(holder.label, parameter.name, self._parameter(owner, parameter.placement))
                    self.users.setdefault(owner, set()).add((body, node.name, parameter.name))
        variadic = bool(op.tensors) and op.tensors[0].startswith("*")
        names = [f"x{i}" if variadic else name for i, name in enumerate(node.args)]
        args = {"xs": ", ".join(names)} if variadic else dict(zip(names, names, strict=True))
        known = {name for t in node.outputs for dim in t.shape for name in symbols(dim)} | {"B", "S"}
        types = [self.plan.tensor(body, value) for value in node.inputs]
        numbers = {name: str(substitute(Poly((((name,), 1),)), self.sizes)) for name in known}
        text = op.emit(node, types, args | numbers, "self.label")
        exec(f"def forward(self, {', '.join(names)}):\n    return {text}", scope)
        return as_tuple(scope["forward"](holder, *arguments))

    def _parameter(self, path: Path, placement: Mapping[str, Any]) -> nn.Parameter:
        """The rank's part of a parameter; a tied one is the same."""
        if path not in self.parameters:
            value, place = self.whole[path], placement.get("tensor")
            axis = self.axes["tensor"]
            if place is not None and place.dim is not None:
                value = value.chunk(axis.size, place.dim)[axis.index]
            self.parameters[path] = nn.Parameter(value.detach().clone())
        return self.parameters[path]


def parameters_of(plan: Plan) -> dict[Path, torch.Tensor]:
    """Random values for the trained parameters of a plan that is not placed, by path."""
    found: dict[Path, torch.Tensor] = {}

    def visit(body: str, path: Path) -> None:
        for node in plan.nodes(body):
            if node.label is None or (node.share is not None and node.body is not None):
                continue
            for parameter in node.parameters:
                if parameter.trained:
                    found[(*path, node.label, parameter.name)] = torch.randn(parameter.shape) * 0.2
            for index in range(node.count if node.body is not None else 0):
                inner = (*path, node.label, str(index)) if node.op == "repeat" else (*path, node.label)
                assert node.body is not None
                visit(node.body, inner)

    visit("forward", ())
    return found


def run_ranks(ranks: list[Rank], task: Callable[[Rank], Any]) -> list[Any]:
    """What every rank computes, each in a thread of its own."""
    found: list[Any] = [None] * len(ranks)
    failures: list[BaseException] = []

    def run(index: int) -> None:
        try:
            found[index] = task(ranks[index])
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=run, args=(i,), daemon=True) for i in range(len(ranks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if failures:
        raise failures[0]
    assert not any(thread.is_alive() for thread in threads), "the ranks wait for each other"
    return found


@contextmanager
def meeting(groups: Mapping[str, int]) -> Iterator[None]:
    """Collectives among threads: `groups` has the number of ranks of each group by its key."""
    slots: dict[str, list[Any]] = {key: [None] * size for key, size in groups.items()}
    barriers = {key: Barrier(size, timeout=60) for key, size in groups.items()}

    def all_of(x: torch.Tensor, key: str, index: int) -> list[torch.Tensor]:
        slots[key][index] = x.detach()
        barriers[key].wait()
        found = list(slots[key])
        barriers[key].wait()
        return found

    def add(x: torch.Tensor, ranks: tuple[str, int, int], _dims: tuple[int, ...]) -> torch.Tensor:
        return torch.stack(all_of(x, ranks[0], ranks[2])).sum(0)

    def gather(x: torch.Tensor, ranks: tuple[str, int, int], dims: tuple[int, ...]) -> torch.Tensor:
        return torch.cat(all_of(x, ranks[0], ranks[2]), dims[0])

    def scatter(x: torch.Tensor, ranks: tuple[str, int, int], dims: tuple[int, ...]) -> torch.Tensor:
        return add(x, ranks, dims).chunk(ranks[1], dims[0])[ranks[2]]

    def exchange(x: torch.Tensor, ranks: tuple[str, int, int], dims: tuple[int, ...]) -> torch.Tensor:
        return gather(x, ranks, dims).chunk(ranks[1], dims[1])[ranks[2]]

    usual = dict(collectives._MOVES)
    changed = dict.fromkeys(("all_reduce", "all_reduce_both"), add) | dict.fromkeys(
        ("all_gather", "all_gather_both"), gather
    )
    collectives._MOVES.update(changed | {"reduce_scatter": scatter, "all_to_all": exchange})
    try:
        yield
    finally:
        collectives._MOVES.update(usual)


def mesh(data: int, tensor: int) -> list[dict[str, Axis]]:
    """The axes of every rank, tensor axis innermost; the keys of groups are "tensor0", "data1"."""
    found = []
    for row in range(data):
        for column in range(tensor):
            axes = {"data": Axis("data", data), "tensor": Axis("tensor", tensor)}
            axes["data"]._join(None, row)
            axes["tensor"]._join(None, column)
            axes["data"].key, axes["tensor"].key = f"data{column}", f"tensor{row}"
            found.append(axes)
    return found
