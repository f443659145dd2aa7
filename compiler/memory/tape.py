"""Tensors without values, and the tape that backward plays: what autograd holds and frees, in its order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..passes.precision import WIDTH
from .buckets import Buckets
from .gathered import Sharded
from .ledger import Amounts, Ledger, Storage, Top

Order = tuple[int, ...]


@dataclass(eq=False)
class Fake:
    """A tensor: memory, number of elements, format; `order` lists its dimensions as they lie in memory.

    `learns` tells whether it has a gradient; `parameter` names the leaf that it is.
    """

    storage: Storage
    count: int
    dtype: str
    order: Order | None = None
    learns: bool = False
    parameter: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        """Bytes of its elements."""
        return self.count * WIDTH[self.dtype]


@dataclass(eq=False)
class Step:
    """One node of autograd: `back` gives the gradient of each input that learns, given that of the outputs."""

    inputs: tuple[Fake, ...]
    outputs: tuple[Fake, ...]
    saved: tuple[Storage, ...]
    alias: bool
    workspace: int
    name: str


@dataclass(eq=False)
class Again:
    """A part that backward runs once more, with the memory of its inputs and of results it keeps."""

    run: Callable[[], list[Entry]]
    held: tuple[Storage, ...]


@dataclass(eq=False)
class Many:
    """Iterations like the one after them, which are not played one by one."""

    count: int


@dataclass(eq=False)
class Mark:
    """Where an iteration begins (`Many` repeats the change between two of them)."""


@dataclass(eq=False)
class Edge:
    """Where the forward of a unit that ZeRO gathers begins, or ends: backward begins there."""

    path: tuple[str, ...]
    begins: bool


Entry = Step | Again | Many | Mark | Edge


@dataclass
class Tape:
    """What forward has recorded, and the gradients of backward.

    `uses` counts the nodes that give a parameter a gradient, `arrived` holds the sum until the last of them has.
    `reached` is the peak until the last node that saved something: a part that is run again ends there.
    `sharded` has gradients of parameters that are cut up, `buckets` those that are added up while backward runs.
    """

    ledger: Ledger
    entries: list[Entry] = field(default_factory=list)
    gradients: dict[int, Storage] = field(default_factory=dict)
    leaves: dict[tuple[str, ...], Storage] = field(default_factory=dict)
    arrived: dict[tuple[str, ...], Storage] = field(default_factory=dict)
    uses: Counter[tuple[str, ...]] = field(default_factory=Counter)
    sharded: Sharded | None = None
    buckets: Buckets | None = None
    complete: int = 0  # bytes of gradients of parameters that are
    kind: str = "activations"
    recording: bool = True
    reached: Top | None = None

    def record(
        self,
        name: str,
        inputs: Sequence[Fake],
        outputs: Sequence[Fake],
        saved: Sequence[Storage],
        alias: bool = False,
        workspace: int = 0,
    ) -> None:
        """Notes one node, if anything in it learns; it holds what it has saved."""
        learns = any(each.learns for each in inputs)
        for each in outputs:
            each.learns = learns and each.dtype in ("fp32", "bf16", "fp16")
        if not learns:
            return
        for storage in saved if self.recording else ():
            self.ledger.hold(storage)
            if storage.kind == "transient":
                self.ledger.turn(storage, self.kind)
        if saved:
            self.reached = self.ledger.top()
        kept = tuple(saved) if self.recording else ()
        self.entries.append(Step(tuple(inputs), tuple(outputs), kept, alias, workspace, name))

    def backward(self, entries: list[Entry]) -> None:
        """Plays entries from the last to the first."""
        steps = [entry for entry in entries if isinstance(entry, Step)]
        self.uses.update(each.parameter for step in steps for each in step.inputs if each.parameter is not None)
        change: Amounts | None = None
        before: Amounts | None = None
        gradients = complete = 0
        for entry in reversed(entries):
            if isinstance(entry, Mark):
                now = self._without_buckets()
                change = None if before is None else {kind: now[kind] - before[kind] for kind in now}
                before, gradients, complete = now, self.complete - complete, self.complete
            elif isinstance(entry, Many):
                assert change is not None
                for _ in range(entry.count if self.buckets else 1):
                    self.ledger.shift(change, 1 if self.buckets else entry.count)
                    self._completed(gradients)
                before, complete = self._without_buckets(), self.complete
            elif isinstance(entry, Again):
                self._again(entry)
            elif isinstance(entry, Edge):
                assert self.sharded is not None
                (self.sharded.close if entry.begins else self.sharded.open)(entry.path)
            else:
                self._step(entry)

    def _without_buckets(self) -> Amounts:
        """What is held beside gradients on their way, of which each iteration does not send as many."""
        now = dict(self.ledger.now)
        now["communication"] -= self.buckets.size if self.buckets else 0
        return now

    def _completed(self, size: int) -> None:
        self.complete += size
        if self.buckets:
            self.buckets.add(size)

    def _again(self, entry: Again) -> None:
        inner = entry.run()
        self.backward(inner)
        for storage in entry.held:
            self.ledger.drop(storage)

    def _step(self, step: Step) -> None:
        ledger = self.ledger
        ledger.doing = f"backward of {step.name}"
        given = [self.gradients.pop(id(each)) for each in step.outputs if id(each) in self.gradients]
        if given:
            ledger.burst(step.workspace)
            for each in step.inputs:
                if each.learns:
                    made = ledger.hold(given[0]) if step.alias else ledger.new(each.size)
                    self._collect(each, made)
        for storage in (*step.saved, *given):
            ledger.drop(storage)

    def _collect(self, each: Fake, made: Storage) -> None:
        """Adds up the gradients of one tensor; that of a parameter stays."""
        path = each.parameter
        if path is None:
            known = self.gradients.pop(id(each), None)
            self.gradients[id(each)] = made if known is None else self._sum(known, made, each.size)
            return
        known = self.arrived.pop(path, None)
        made = made if known is None else self._sum(known, made, each.size)
        self.uses[path] -= 1
        if self.uses[path] > 0:
            self.arrived[path] = made
        elif self.sharded is not None:
            self.sharded.gradient(path, made, each.count)
        elif path in self.leaves:
            self.ledger.drop(made)  # added to the gradient that is there, in place
            self._completed(4 * each.count)
        else:
            if made.holders > 1 or each.dtype != "fp32":  # ZeRO adds up what it has gathered in low precision in fp32
                self.ledger.drop(made)
                made = self.ledger.new(4 * each.count)
            self.ledger.turn(made, "gradients")
            self.leaves[path] = made
            self._completed(4 * each.count)

    def _sum(self, one: Storage, other: Storage, size: int) -> Storage:
        """Out of place, as autograd adds fake tensors; a GPU adds in place where it can, and takes less then."""
        result = self.ledger.new(size)
        self.ledger.drop(one)
        self.ledger.drop(other)
        return result
