"""The layout that fits where the one that was asked for does not."""

from __future__ import annotations

from math import log2

from ...dsl.spec import Spec
from ..cluster import Machine
from ..layout import layout_of
from ..lower import Lowered
from .choice import Choice, settings
from .confirm import memory_needed
from .search import every_choice, recomputed, samples_of
from .tables import Tables
from .text import size

MOST_TRIED = 6
"""Layouts near the one that does not fit that are planned in full."""


def nearest(spec: Spec, lowered: Lowered, machine: Machine) -> str:
    """The layout that fits with the least changes, among those of as many ranks and samples."""
    assert machine.memory is not None, "it was compared"
    tables = Tables(spec, lowered, machine)
    here = _here(spec)
    near = sorted(_around(tables, spec, here), key=lambda choice: (_distance(here, choice), choice.key))
    tried = 0
    for choice in near:
        needed = tables.needed(choice)
        if needed is None or needed > machine.memory:
            continue
        tried += 1
        found = memory_needed(spec, lowered, choice)
        if found <= machine.memory:
            return f"the nearest that fits, with {size(found)}: {', '.join(_changes(here, choice))}"
        if tried >= MOST_TRIED:
            break
    return "no layout of as many ranks is near that fits; `dskc tune` looks at all of them, with more ranks too"


def _here(spec: Spec) -> Choice:
    way = spec.memory.checkpointing
    training = spec.training
    return Choice(
        layout_of(spec), training.micro_batch_size, training.gradient_accumulation,
        way if isinstance(way, str) else "given",
    )  # fmt: skip


def _around(tables: Tables, spec: Spec, here: Choice) -> list[Choice]:
    ways = recomputed(spec, tables.lowered) + (("given",) if here.checkpointing == "given" else ())
    return [choice for choice in every_choice(tables, spec, samples_of(spec), ways) if _distance(here, choice) <= 6]


def _distance(here: Choice, there: Choice) -> float:
    """How far a layout is: doublings of its axes, and a step for each other thing that is changed."""
    a, b = here.layout, there.layout
    sizes = ((a.pipeline, b.pipeline), (a.tensor, b.tensor), (here.micro_batch, there.micro_batch))
    far = sum(abs(log2(x / y)) * weight for (x, y), weight in zip(sizes, (1.5, 1.5, 1), strict=True))
    schedule = (a.schedule, a.chunks) != (b.schedule, b.chunks) and a.pipeline > 1 and b.pipeline > 1
    sequence = a.sequence_parallel != b.sequence_parallel and (a.tensor > 1) == (b.tensor > 1)
    return far + (a.shard != b.shard) + schedule + sequence + (here.checkpointing != there.checkpointing)


def _changes(here: Choice, there: Choice) -> list[str]:
    before = settings(here)
    return [f"`{path}: {value}`" for path, value in settings(there).items() if before.get(path) != value]
