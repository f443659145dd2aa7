"""Whether a program on several ranks computes what it computes in one process.

Both are run as they stand, from `train.py` in their folder, on CPUs with gloo. What they compute is taken where it
passes by: all gradients of the first step, where their norm is taken, and the loss of every step, where it is read.

    report = parity.compare(Path("one_process"), Path("ranks"), 8)
    print(report.table())

Gradients are compared for each parameter, the norm of the difference with the norm itself. Both programs add up the
same terms in another order. An fp32 sum of n terms is off by about sqrt(n) * 6e-8 of the size of the terms, and a
product in backward hands its error on to the one before it: for some thousand terms and some ten layers that is
below 1e-5. Where the terms cancel, as in a bias that a norm takes out again, the result is smaller than what it was
made of. So the bound never asks for more than 1e-5 of `FLOOR` of what a parameter of its size has on average.

Some models magnify rounding beyond that: the gradients of an untrained ResNet-50 in fp32 are 1e-2 off those in fp64,
in one process. Where fp32 differs by more than the bound, both programs are run once more in fp64, and have to agree
within `EXACT`, the losses, which grow apart with every step, within 1e-5; the report says so.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from . import ranks
from .layout import Layout, block_of, named_parameters

BOUND = 1e-5
EXACT = 1e-9
FLOOR = 1e-2
TIMEOUT = 300.0  # seconds


@dataclass(frozen=True)
class Part:
    """What one rank has of a gradient: the block that starts at `start` of the `whole`."""

    name: str
    values: Tensor
    whole: tuple[int, ...]
    start: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A parameter: the norm of its gradient in one process, and the error relative to what it is compared with."""

    name: str
    elements: int
    norm: float
    error: float


@dataclass(frozen=True)
class Report:
    """What was compared, and by how much it differs: gradients of the first step, losses of all steps."""

    rows: tuple[Row, ...]
    losses: tuple[tuple[float, float], ...]
    faults: tuple[str, ...]
    bound: float = BOUND

    @property
    def precision(self) -> str:
        """The format that both were computed in."""
        return "fp32" if self.bound == BOUND else "fp64"

    @property
    def worst(self) -> Row:
        """The parameter with the largest error."""
        return max(self.rows, key=lambda row: (math.isnan(row.error), row.error))

    @property
    def loss_error(self) -> float:
        """The largest relative difference of a loss."""
        return max(abs(a - b) / abs(a) if math.isfinite(b) else math.inf for a, b in self.losses)

    @property
    def failures(self) -> list[str]:
        """What is wrong, one line each; empty where both programs compute the same."""
        found = list(self.faults)
        found += [
            f"the gradient of {row.name} differs: {row.error:.2e}" for row in self.rows if not row.error <= self.bound
        ]
        for step, (one, several) in enumerate(self.losses, 1):
            if not abs(one - several) <= BOUND * abs(one):
                found.append(f"the loss of step {step} is {several:.8g} instead of {one:.8g}")
        return found

    def table(self, most: int = 12) -> str:
        """The parameters with the largest errors, and the losses."""
        worst = sorted(self.rows, key=lambda row: -row.error)[:most]
        width = max(len(row.name) for row in worst)
        lines = [f"{'gradient of':{width}}  {'elements':>10}  {'norm':>9}  {'error':>8}"]
        lines += [f"{row.name:{width}}  {row.elements:>10,}  {row.norm:9.2e}  {row.error:8.1e}" for row in worst]
        if len(self.rows) > most:
            lines.append(f"... and {len(self.rows) - most} more, with smaller errors")
        first, last = self.losses[0], self.losses[-1]
        lines.append(f"loss of {len(self.losses)} steps, {first[0]:.6f} to {last[0]:.6f}: error {self.loss_error:.1e}")
        lines.append(f"{len(self.rows)} gradients, {len(self.losses)} losses compared with those of one process")
        if self.precision == "fp64":
            lines.append("in fp64: this model magnifies the rounding of fp32 beyond 1e-5 in one process as well")
        return "\n".join(lines)


class Shown(Protocol):
    """What was compared, and what is wrong with it."""

    @property
    def failures(self) -> list[str]:
        """One line each."""

    def table(self) -> str:
        """For a person to read."""


def failures(*reports: Shown) -> list[str]:
    """What is wrong; what was compared, and what differs, is printed."""
    for report in reports:
        print(report.table())
        for failure in report.failures:
            print(f"error: {failure}", file=sys.stderr)
    return [failure for report in reports for failure in report.failures]


def run(*tests: Callable[[], None]) -> int:
    """Runs the tests of a program one after the other; the exit code of `python test_program.py`."""
    failed = 0
    for test in tests:
        print(f"{test.__name__.removeprefix('test_').replace('_', ' ')}:", flush=True)
        try:
            test()
        except AssertionError:
            failed += 1
            print("FAILED\n")
        else:
            print("passed\n")
    return 1 if failed else 0


class Reference:
    """What a program of one process computes, in fp32 and, where that is asked for, in fp64; run once."""

    def __init__(self, folder: Path, timeout: float = TIMEOUT) -> None:
        self.folder, self._timeout = folder, timeout
        self._known: dict[bool, tuple[dict[str, Tensor], tuple[float, ...]]] = {}

    def results(self, exact: bool) -> tuple[dict[str, Tensor], tuple[float, ...]]:
        """Gradients of the first step by name, and the losses."""
        if exact not in self._known:
            with tempfile.TemporaryDirectory() as run:
                ((parts, losses),) = ranks.run(observe, 1, str(self.folder), run, exact, timeout=self._timeout)
            self._known[exact] = {part.name: part.values for part in parts}, losses
        return self._known[exact]


def compare(one: Path | Reference, several: Path, count: int, timeout: float = TIMEOUT) -> Report:
    """Runs the program of `several` on that many ranks, and that of one process unless that was done."""
    known = Reference(one, timeout) if isinstance(one, Path) else one
    report = _compare(known, several, count, timeout, exact=False)
    return _compare(known, several, count, timeout, exact=True) if report.failures and not report.faults else report


def _compare(known: Reference, several: Path, count: int, timeout: float, exact: bool) -> Report:
    with tempfile.TemporaryDirectory() as run:
        found = ranks.run(observe, count, str(several), run, exact, timeout=timeout)
    wanted, right = known.results(exact)
    gradients, faults = assemble([part for parts, _ in found for part in parts])
    losses = found[0][1]
    faults += [f"rank {rank} has other losses than rank 0" for rank, (_, own) in enumerate(found) if own != losses]
    if len(losses) != len(right):
        faults.append(f"{len(losses)} steps were made instead of {len(right)}")
    total = torch.stack([each.double().norm() for each in wanted.values()]).norm().item()
    elements = sum(each.numel() for each in wanted.values())
    rows = []
    for name, gradient in wanted.items():
        other = gradients.pop(name, None)
        if other is None or other.shape != gradient.shape:
            faults.append(f"{name} has no gradient, or one of another shape, on the ranks")
            continue
        norm = gradient.double().norm().item()
        usual = FLOOR * total * math.sqrt(gradient.numel() / elements)
        error = (gradient.double() - other.double()).norm().item() / max(norm, usual)
        rows.append(Row(name, gradient.numel(), norm, error))
    faults += [f"{name} has a gradient on the ranks, but not in one process" for name in gradients]
    return Report(tuple(rows), tuple(zip(right, losses, strict=False)), tuple(faults), EXACT if exact else BOUND)


def assemble(parts: list[Part]) -> tuple[dict[str, Tensor], list[str]]:
    """Whole gradients of the blocks of all ranks; and what is wrong with them: gaps, and copies that differ."""
    whole: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}
    faults: dict[str, None] = {}
    for part in parts:
        if part.name not in whole:
            whole[part.name] = torch.full(part.whole, math.nan, dtype=part.values.dtype)
            seen[part.name] = torch.zeros(part.whole, dtype=torch.bool)
        place = tuple(slice(a, a + n) for a, n in zip(part.start, part.values.shape, strict=True))
        known = seen[part.name][place]
        if not torch.equal(whole[part.name][place][known], part.values[known]):
            faults[f"copies of the gradient of {part.name} differ between ranks"] = None
        whole[part.name][place] = part.values
        seen[part.name][place] = True
    for name, there in seen.items():
        if not there.all():
            faults[f"no rank has all of the gradient of {name}"] = None
    return whole, list(faults)


def observe(
    folder: str, run: str, exact: bool, stop: int | None = None, dropout: bool = False
) -> tuple[list[Part], tuple[float, ...]]:
    """Runs the program of a folder on this rank, up to `stop`: its gradients of the first step, and all losses.

    `exact`: in fp64 instead of the format that the program is written for. `dropout`: as it is written, not left out.
    """
    gradients: list[Part] = []
    losses: list[float] = []
    with loaded(folder) as program, contextlib.redirect_stdout(io.StringIO()):
        clip, known = program.optimizer.clip_norm, program.guard.read

        def clip_norm(model: Any, *args: Any, **named: Any) -> Tensor:
            if not gradients:
                gradients.extend(blocks(model, getattr(program, "LAYOUT", None) or Layout()))
            return clip(model, *args, **named)  # type: ignore[no-any-return]

        def read(*args: Any) -> dict[str, float]:
            numbers: dict[str, float] = known(*args)
            losses.append(numbers["loss"])
            return numbers

        with (
            mock.patch.object(program.optimizer, "clip_norm", clip_norm),
            mock.patch.object(program.guard, "read", read),
            contextlib.nullcontext() if dropout else without_dropout(),
            in_double(program) if exact else contextlib.nullcontext(),
        ):
            program.train(Path(run), stop, torch.device("cpu"))
    return gradients, tuple(losses)


def blocks(model: Any, layout: Layout) -> Iterator[Part]:
    """This rank's part of every gradient, under the name that the parameter has in one process."""
    for name, parameter in named_parameters(model):
        if parameter.grad is not None:
            block = block_of(name, parameter.grad, layout)
            yield Part(name, block.local.clone(), block.whole, block.start)


@contextlib.contextmanager
def loaded(folder: str) -> Iterator[ModuleType]:
    """The module `train` of a program; its modules are gone again afterwards."""
    own = __name__.split(".")[0]  # the runtime beside a program that needs no dskc is this very one
    names = ({path.stem for path in Path(folder).glob("*.py")} | {"dskc_runtime"}) - {own}

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in names]:
            del sys.modules[name]

    forget()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield importlib.import_module("train")
    finally:
        sys.path.remove(folder)
        forget()


@contextlib.contextmanager
def without_dropout() -> Iterator[None]:
    """Dropout passes everything: its masks are drawn on each rank, so that one process has others."""

    def attention(*args: Any, dropout_p: float = 0.0, **named: Any) -> Tensor:  # noqa: ARG001
        return attend(*args, **named)

    attend: Callable[..., Tensor] = F.scaled_dot_product_attention
    with (
        mock.patch.object(F, "dropout", lambda x, *_, **__: x),
        mock.patch.object(F, "scaled_dot_product_attention", attention),
    ):
        yield


@contextlib.contextmanager
def in_double(program: ModuleType) -> Iterator[None]:
    """Parameters and data are fp64 from the start, and the losses do not round them to fp32."""
    load: Callable[[torch.device], Any] = program.load_data

    def load_data(place: torch.device) -> Any:
        data = load(place)
        take = data.batch

        def batch(*args: Any) -> dict[str, Tensor]:
            return {name: x.double() if x.is_floating_point() else x for name, x in take(*args).items()}

        data.batch = batch
        return data

    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(program, "load_data", load_data), mock.patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(torch.float32)
