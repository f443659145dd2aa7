"""What kernels are made of: results, saved operands, casts of autocast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..dims import Dim, substitute
from ..node import Node, Tensor
from ..passes.precision import STORED, WIDTH
from .ledger import Ledger, Storage
from .tape import Fake, Order, Tape

FLOATS = ("fp32", "bf16", "fp16")


@dataclass
class Player:
    """Plays single operations: who holds which memory.

    `low` is the format of autocast, or fp32, and `cache` its copies of parameters; `loose` are bytes of copies, of
    iterations that are not played, which only autocast holds. `scope` are the values of the function that runs; they
    go when it ends. `module` is the path of the module that the current node owns. With `keeps`, results of matrix
    products outlive a part that is recomputed; while it is recomputed, `kept` gives them back. `gathered` is the
    format of parameters that ZeRO has gathered.
    """

    sizes: dict[str, int]
    low: str
    ledger: Ledger
    tape: Tape
    module: tuple[str, ...] = ()
    cache: dict[tuple[str, ...], Fake] = field(default_factory=dict)
    loose: int = 0
    scope: list[Storage] = field(default_factory=list)
    keeps: list[Storage] | None = None
    kept: Iterator[Storage] | None = None
    gathered: str | None = None
    numbers: dict[Dim, int] = field(default_factory=dict)

    def number(self, size: Dim) -> int:
        """A size of this run."""
        if isinstance(size, int):
            return size
        value = self.numbers.get(size)
        if value is None:
            found = substitute(size, self.sizes)
            assert isinstance(found, int), f"a symbolic size is left over: {found}"
            value = self.numbers[size] = found
        return value

    def made(self, count: int, dtype: str, order: Order | None = None, product: bool = False) -> Fake:
        """A new tensor that the scope holds; of a matrix product that is not run again, the one kept."""
        if product and self.kept is not None:
            storage = self.ledger.hold(next(self.kept))
        else:
            storage = self.ledger.new(count * WIDTH[dtype])
            if product and self.keeps is not None:
                self.keeps.append(self.ledger.hold(storage))
                self.ledger.turn(storage, "activations")
        self.scope.append(storage)
        return Fake(storage, count, dtype, order)

    def view(
        self, name: str, x: Fake, count: int | None = None, order: Order | None = None, copies: bool = False
    ) -> Fake:
        """The same memory in another shape; with `copies`, backward makes a whole gradient of its part."""
        self.scope.append(self.ledger.hold(x.storage))
        result = Fake(x.storage, x.count if count is None else count, x.dtype, order)
        self.tape.record(name, (x,), (result,), (), alias=not copies)
        return result

    def cast(self, x: Fake, dtype: str) -> Fake:
        """In another format; backward casts the gradient back."""
        if x.dtype == dtype or x.dtype not in FLOATS:
            return x
        result = self.made(x.count, dtype, x.order)
        self.tape.record("cast", (x,), (result,), ())
        return result

    def weight(self, name: str, count: int, dtype: str | None = None) -> Fake:
        """A parameter of the node; in low precision a copy, made once while autocast lasts."""
        path = (*self.module, name)
        stored = self.gathered or "fp32"
        leaf = Fake(Storage(0, "parameters", 1 << 30), count, stored, None, True, path)
        if dtype in (None, "fp32", stored):
            return leaf
        if path not in self.cache:
            copy = Fake(self.ledger.new(count * WIDTH[str(dtype)], "copies"), count, str(dtype))
            self.tape.record("cast of a parameter", (leaf,), (copy,), ())
            self.cache[path] = copy
        return self.cache[path]

    def forget(self) -> None:
        """Autocast ends: its copies stay where backward needs them only."""
        for copy in self.cache.values():
            self.ledger.drop(copy.storage)
        self.cache.clear()
        self.ledger.add("copies", -self.loose)
        self.loose = 0

    def ran(
        self, name: str, inputs: Sequence[Fake], count: int, dtype: str, saved: Sequence[Fake] = (), own: int = 0,
        keeps_result: bool = False, workspace: int = 0, order: Order | None = None, product: bool = False,
    ) -> Fake:  # fmt: skip
        """One kernel with one result: `saved` operands, `own` bytes that it saves beside, `workspace` of backward."""
        learns = any(each.learns for each in inputs)
        result = self.made(count, dtype, order, product)
        storages = [each.storage for each in saved]
        extra = self.ledger.new(own) if own and learns and self.tape.recording else None
        if extra is not None:
            storages.append(extra)
        if keeps_result:
            storages.append(result.storage)
        self.tape.record(name, inputs, (result,), storages, workspace=workspace)
        if extra is not None:
            self.ledger.drop(extra)
        return result

    @contextmanager
    def function(self) -> Iterator[Callable[[Sequence[Fake]], None]]:
        """A scope of its own: what it makes goes at its end, except what it returns."""
        outer, self.scope = self.scope, []
        returned: list[Storage] = []

        def give(values: Sequence[Fake]) -> None:
            for value in values:
                returned.append(self.ledger.hold(value.storage))

        try:
            yield give
        finally:
            for storage in self.scope:
                self.ledger.drop(storage)
            self.scope = outer
            self.scope.extend(returned)

    def made_size(self, tensor: Tensor, dtype: str) -> int:
        """Bytes of a plan's tensor."""
        count, kind = self.tensor_of(tensor, dtype)
        return count * WIDTH[kind]

    def arrived(self, tensor: Tensor, dtype: str) -> Fake:
        """What another stage has sent, in a buffer that is there for the whole step."""
        count, kind = self.tensor_of(tensor, dtype)
        return Fake(Storage(0, "communication", 1 << 30), count, kind, learns=kind in FLOATS)

    def tensor_of(self, tensor: Tensor, dtype: str) -> tuple[int, str]:
        """Elements and format of a plan's tensor."""
        return self.number(tensor.elements), dtype if tensor.kind == "float" else STORED[tensor.kind]


Kernel = Callable[[Player, Node, Sequence[Fake], Sequence[Tensor]], list[Fake]]
"""Plays one node: operands by position, results."""


def widest(xs: Sequence[Fake]) -> str:
    """The format that element-wise operations promote to."""
    floats = [x.dtype for x in xs if x.dtype in FLOATS and x.count != 0]
    return max(floats, key=lambda dtype: WIDTH[dtype], default="fp32")
