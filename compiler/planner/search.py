"""All layouts of a model on a cluster, the fastest that fit first, and why each of the others is not among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import prod

from ...dsl.diagnostics import Sink
from ...dsl.spec import Spec
from ..check_recompute import check_recompute
from ..cluster import Machine, machine_of
from ..layout import Layout
from ..lower import Lowered
from ..proof import combination, proven
from .choice import Choice, changed, expert_of
from .confirm import Confirmed, confirmed
from .step import quick_step
from .tables import Tables
from .text import duration, size

SHARDS = ("none", "optimizer", "gradients", "parameters")
WAYS = ("off", "selective", "sqrt", "full")
CHUNKS = (2, 3, 4, 5, 6, 8)
MOST_NODES = 4
"""Nodes that a tensor axis is tried over."""
MOST_SAMPLES = 64
"""Largest micro-batch that is tried."""

Progress = Callable[[str], None]


@dataclass
class Group:
    """Layouts that are out for one reason; `example` is one of them, with its numbers."""

    why: str
    count: int = 0
    example: str = ""


@dataclass
class Found:
    """The result of a search: `best` in order, `groups` of what is not among them, `looked` at in all."""

    machine: Machine
    samples: int
    best: list[Confirmed] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    looked: int = 0

    def reject(self, why: str, example: str, count: int = 1) -> None:
        """Counts layouts that are out."""
        group = self.groups.setdefault(why, Group(why))
        group.count += count
        group.example = group.example or example
        self.looked += count


@dataclass(frozen=True)
class Fixed:
    """What the spec settles; None: the search does."""

    data: int | None = None
    pipeline: int | None = None
    tensor: int | None = None
    shard: str | None = None
    schedule: tuple[str, int] | None = None
    sequence: bool | None = None
    checkpointing: bool = False


def samples_of(spec: Spec) -> int:
    """Samples of a step, which no layout changes: with `auto` those of a run whose other ranks share the batch."""
    asked, training = spec.parallel, spec.training
    others = prod(n for n in (asked.pipeline_depth, asked.tensor_model_parallel) if isinstance(n, int))
    data = asked.data_parallel if isinstance(asked.data_parallel, int) else max(1, asked.world_size // others)
    return training.micro_batch_size * training.gradient_accumulation * data


def search(
    spec: Spec, lowered: Lowered, top: int = 10, fixed: Fixed | None = None, progress: Progress = lambda _: None
) -> Found:
    """The `top` fastest layouts that fit, by the same prediction that `dskc plan` shows."""
    machine = machine_of(spec)
    tables = Tables(spec, lowered, machine)
    found = Found(machine, samples_of(spec))
    ways = ("given",) if fixed is not None and fixed.checkpointing else recomputed(spec, lowered)
    rated: list[tuple[float, Choice]] = []
    for choice in _choices(tables, spec, found, fixed or Fixed(), ways, progress):
        needed = tables.needed(choice)
        if needed is None:
            found.reject("the model cannot be cut into so many stages", _named(choice))
            continue
        if machine.memory is not None and needed > machine.memory:
            found.reject(
                f"more than {size(machine.memory)} of memory", f"{_named(choice)} needs {size(needed)} at least"
            )
            continue
        works = tables.works(choice)
        assert works is not None, "what can be held can be cut"
        seconds = quick_step(works, choice.layout, spec, machine, choice.accumulation).seconds
        rated.append((seconds, choice))
    rated.sort(key=lambda each: (each[0], each[1].key))
    progress(f"{len(rated):,} layouts may fit; the fastest are planned in full")
    found.best, slower, unfit = confirmed(spec, lowered, tables, rated, top)
    for confirmation in unfit:
        why = f"more than {size(machine.memory or 0)} of memory, planned in full"
        found.reject(why, f"{_named(confirmation.choice)} needs {size(confirmation.memory)}")
    if slower:
        seconds, choice = slower[0]
        full = len(found.best) < top
        why = "not planned in full: too many of the fastest do not fit" if full else "slower than those above"
        found.reject(why, f"{_named(choice)}, about {duration(seconds)}", len(slower))
    found.looked += len(found.best)
    return found


def recomputed(spec: Spec, lowered: Lowered) -> tuple[str, ...]:
    """What the layers of a model can recompute: nothing where none is repeated, or where they share parameters."""
    sink = Sink()
    check_recompute(replace(spec, memory=changed(spec.memory, checkpointing="full")), lowered.bodies, sink)
    return WAYS[:1] if sink.failed else WAYS


def every_choice(tables: Tables, spec: Spec, samples: int, ways: tuple[str, ...]) -> Iterator[Choice]:
    """All layouts of a spec's ranks, whether they fit or not."""
    return _choices(tables, spec, Found(tables.machine, samples), Fixed(), ways, lambda _: None)


def _named(choice: Choice) -> str:
    layout = choice.layout
    return f"data {layout.data} x pipeline {layout.pipeline} x tensor {layout.tensor}"


def _choices(
    tables: Tables, spec: Spec, found: Found, fixed: Fixed, ways: tuple[str, ...], progress: Progress
) -> Iterator[Choice]:
    world = spec.parallel.world_size
    for tensor in _divisors(world):
        if fixed.tensor not in (None, tensor):
            continue
        if fixed.tensor is None and tensor > MOST_NODES * tables.machine.per_node:
            why = f"a tensor axis over more than {MOST_NODES} nodes: each of its collectives waits for the network"
            found.reject(why, f"tensor {tensor}", len(_divisors(world // tensor)))
            continue
        for sequence in (False, True) if tensor > 1 else (False,):
            if fixed.sequence not in (None, sequence) and tensor > 1:
                continue
            progress(f"tensor {tensor}{', sequence parallel' if sequence else ''}")
            model = tables.model(tensor, sequence)
            depths = [p for p in _divisors(world // tensor) if fixed.pipeline in (None, p)]
            if isinstance(model, str):
                found.reject(f"tensor {tensor}: {model}", f"tensor {tensor}", len(depths))
                continue
            for depth in depths:
                yield from _portions(tables, spec, found, fixed, ways, (tensor, depth, sequence))


def _portions(
    tables: Tables, spec: Spec, found: Found, fixed: Fixed, ways: tuple[str, ...], axes: tuple[int, int, bool]
) -> Iterator[Choice]:
    tensor, depth, sequence = axes
    data = spec.parallel.world_size // (tensor * depth)
    if fixed.data not in (None, data):
        return
    name = f"data {data} x pipeline {depth} x tensor {tensor}"
    expert = expert_of(spec)
    if data % expert:
        found.reject("the experts' ranks do not divide the data ranks", f"{name}, expert_parallel {expert}")
        return
    if found.samples % data:
        found.reject("the batch does not divide among the data ranks", f"{found.samples} samples, data {data}")
        return
    share = found.samples // data
    larger = [count for count in _divisors(share) if count > MOST_SAMPLES]
    if larger:
        found.reject(f"micro-batches of more than {MOST_SAMPLES} samples are not tried", f"{name}: {larger[0]}")
    for micro in (count for count in _divisors(share) if count <= MOST_SAMPLES):
        for schedule, chunks in _schedules(found, fixed, depth, share // micro, name):
            for shard in SHARDS if data > 1 else ("none",):
                if fixed.shard not in (None, shard) and data > 1:
                    continue
                layout = Layout(data, depth, tensor, expert, shard, schedule, chunks, sequence, tables.machine.per_node)
                if schedule == "zero_bubble" and shard == "parameters":
                    found.reject("zero bubble takes gradients of parameters that ZeRO-3 has let go", name, len(ways))
                    continue
                if layout.world > 1 and combination(layout) not in proven():
                    why = "no parity test has proven such a layout (docs/parity.md)"
                    found.reject(why, combination(layout), len(ways))
                    continue
                for way in ways:
                    yield Choice(layout, micro, share // micro, way)


def _schedules(found: Found, fixed: Fixed, depth: int, micro_batches: int, name: str) -> Iterator[tuple[str, int]]:
    if depth == 1:
        yield ("one_f_one_b", 1)
        return
    kinds = [("one_f_one_b", 1), *(("interleaved", c) for c in CHUNKS), ("zero_bubble", 1), ("zero_bubble", 2)]
    if fixed.schedule is not None:
        kinds = [fixed.schedule]
    else:
        found.reject("gpipe takes as long as 1F1B and holds every micro-batch at once", name)
    for schedule, chunks in kinds:
        if schedule == "interleaved" and micro_batches % depth:
            example = f"{name}: {micro_batches} micro-batches"
            found.reject("interleaving needs micro-batches in groups of as many as there are stages", example)
        else:
            yield schedule, chunks


def _divisors(number: int) -> list[int]:
    low = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return low + [number // n for n in reversed(low) if n * n != number]
