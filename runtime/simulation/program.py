"""Runs a generated program as each of its ranks, alone: what it builds and the steps it trains, without its data.

The program's `train.py` runs as it is, up to the end of the last step: it makes its mesh, model, optimizer and batches.
Left out are the contents of tensors, start values and compilation, and what is no step: data, evaluation, checkpoints.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ..checkpoint import Position
from ..errors import RunError
from ..mesh import Axis
from .events import Record
from .fake import alone
from .recorder import Recorder

SHAPE = re.compile(r"(int|bool)?\[(.*)\]")
TYPES = {"int": torch.int64, "bool": torch.bool, None: torch.float32}
CPU = torch.device("cpu")
LENGTH = 1 << 40  # samples of the data that stands for the program's own


class _Done(Exception):
    """The last step is over."""


class Zeros:
    """Stands for the data of a program: batches of the right shape without content."""

    def __init__(self, folder: Path) -> None:
        plan = json.loads((folder / "plan.json").read_text("utf-8"))["plan"]
        self._sizes: dict[str, int] = plan["sizes"]
        self._inputs = [
            (node["name"], *_shape(node["outputs"][0]))
            for node in plan["bodies"]["forward"]["nodes"]
            if node["op"] == "input"
        ]

    def __len__(self) -> int:
        return LENGTH

    def __getattr__(self, name: str) -> Any:
        raise RunError(f"the simulation knows nothing of the data but its batches; the program asks for `{name}`")

    def batch(self, first: int, size: int, axis: Axis | None = None) -> dict[str, Tensor]:  # noqa: ARG002 (all are alike)
        """The inputs of the model by name."""
        return {name: torch.zeros(self._numbers(shape, size), dtype=dtype) for name, dtype, shape in self._inputs}

    def _numbers(self, shape: list[str], size: int) -> list[int]:
        sizes = self._sizes | {"B": size}
        return [int(dim) if dim.isdigit() else sizes[dim] for dim in shape]


def _shape(text: str) -> tuple[torch.dtype, list[str]]:
    found = SHAPE.fullmatch(text)
    assert found, text
    return TYPES[found[1]], [dim.strip() for dim in found[2].split(",") if dim.strip()]


def trained(
    folder: Path, rank: int, world: int, steps: int = 1, place: torch.device = CPU,
    inside: AbstractContextManager[Any] | None = None,
) -> Record:  # fmt: skip
    """What one rank of the program says to the others until `steps` steps are done, which run in `inside`."""
    with alone(rank, world, folder) as recorder, _loaded(folder) as train, ExitStack() as stack:
        for patch in _patches(recorder, train, folder, steps):
            stack.enter_context(patch)
        stack.enter_context(inside or nullcontext())
        try:
            train.train(folder / "run", steps, place)
        except _Done:
            return recorder.record
    raise RunError(f"{folder / 'train.py'} ended before step {steps}")


@contextmanager
def _loaded(folder: Path) -> Iterator[ModuleType]:
    """The program's `train.py`, imported anew: its modules keep the ranks of their mesh."""
    names = {path.stem for path in folder.glob("*.py")}  # those of every program
    others = {name: sys.modules.pop(name) for name in names & set(sys.modules)}
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("train")
    finally:
        sys.path.remove(str(folder))
        for name in names & set(sys.modules):
            del sys.modules[name]
        sys.modules.update(others)


def _patches(recorder: Recorder, train: Any, folder: Path, steps: int) -> Iterator[Any]:
    """Takes the place of what is no part of a step."""
    read, done = train.guard.read, iter(range(1, steps + 1))

    def count(*args: Any, **values: Any) -> dict[str, float]:
        numbers: dict[str, float] = read(*args, **values)
        if next(done) == steps:
            raise _Done
        return numbers

    yield mock.patch.object(train.guard, "read", count)
    yield mock.patch.object(train, "load_data", _data(train, Zeros(folder)))
    yield mock.patch.object(train.checkpoint.Checkpoints, "restore", return_value=Position())
    yield mock.patch.object(train.checkpoint.Checkpoints, "__init__", return_value=None)
    yield mock.patch.object(train.checkpoint.Checkpoints, "__exit__", return_value=None)
    yield mock.patch.object(train.checkpoint.Checkpoints, "finish")
    yield mock.patch.object(train.record, "Record", mock.MagicMock())
    yield mock.patch.object(torch, "compile", lambda function, *_, **__: function)
    yield mock.patch.object(torch, "split", _split)
    yield mock.patch.object(train.console.LINE, "note")
    for name, module in list(sys.modules.items()):
        if name.endswith("runtime.initialize"):
            yield mock.patch.object(module, "_fill")
        elif name.endswith("runtime.replicated"):
            yield mock.patch.object(module.Replicated, "_plan", _once(recorder, module.Replicated._plan))


def _split(tensor: Tensor, sizes: Any, dim: int = 0) -> Any:
    """Parts whose sizes the data decides, such as the rows of each expert, are equal here."""
    rows = tensor.shape[dim]
    if isinstance(sizes, list) and sum(sizes) != rows:
        sizes = [rows // len(sizes) + (i < rows % len(sizes)) for i in range(len(sizes))]
    return tensor.split(sizes, dim)  # type: ignore[no-untyped-call]


def _once(recorder: Recorder, plan: Any) -> Any:
    """In the first step the ranks agree on which parameters get a gradient."""

    def first(*args: Any) -> Any:
        with recorder.starting():
            return plan(*args)

    return first


def _data(train: Any, zeros: Zeros) -> Any:
    """As many values as the program's own function gives, of which the first is used."""
    several = re.findall(r"[\w.]+", str(train.load_data.__annotations__["return"]).removeprefix("tuple"))
    return lambda *_: zeros if len(several) == 1 else (zeros,) * len(several)
