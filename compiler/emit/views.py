"""What the templates are given: everything in them is decided, formatted and safe to write."""

from __future__ import annotations

from dataclasses import dataclass

from .guard import Guard
from .saves import Saves


@dataclass(frozen=True)
class Function:
    """A method: its header (one line or more), one line of documentation, its body."""

    header: tuple[str, ...]
    doc: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Class:
    """A module: the line `class ...`, and its methods."""

    header: tuple[str, ...]
    methods: tuple[Function, ...]


@dataclass(frozen=True)
class ModelView:
    """`model.py`; `functions` stand below the classes, `stages` are the lines that list the parts of a pipeline."""

    title: str
    legend: tuple[str, ...]
    imports: tuple[tuple[str, ...], ...]
    tables: tuple[str, ...]
    classes: tuple[Class, ...]
    functions: tuple[Function, ...] = ()
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParallelView:
    """`parallel.py`; `mesh`, `tables` and `layout` are lines, in this order."""

    title: str
    doc: tuple[str, ...]
    imports: tuple[tuple[str, ...], ...]
    mesh: tuple[str, ...]
    tables: tuple[list[str], ...]
    layout: tuple[str, ...]
    functions: tuple[Function, ...]


@dataclass(frozen=True)
class TrainView:
    """`train.py`; expressions and lines are Python text, flags say which parts there are.

    steps, warmup ...   names of constants, or of variables that `derived` computes from the size of the data
    data                lines of `load_data`, which return the training data, then validation data and tokenizer
    validation          lines of `validate`
    build, finish       lines that make the model, and what is done after the last step
    compute             lines of a step that give every gradient and the loss
    validated           what `validate` takes: its name and type
    guard               lines that judge loss and norm, and update
    watch               what `health.watch` takes
    passing, logged     lines that pass over samples; what is recorded of a step
    saves               the lines around `checkpoints.save`
    """

    title: str
    usage: tuple[str, ...]
    model: str
    doc: str
    imports: tuple[tuple[str, ...], ...]
    constants: tuple[str, ...]
    data: tuple[str, ...]
    data_type: str
    load: tuple[str, ...]
    derived: tuple[str, ...]
    optimizer: tuple[str, ...]
    rate: str
    steps: str
    setup: tuple[str, ...]
    build: tuple[str, ...]
    objectives: tuple[str, ...]
    compute: tuple[str, ...]
    guard: Guard
    watch: str
    passing: tuple[str, ...]
    logged: str
    norm: str
    validates: bool
    validated: tuple[str, str]
    validation_type: str
    validation: tuple[str, ...]
    evaluate_when: str
    saves: Saves
    record: tuple[str, ...]
    sample: tuple[str, ...]
    finish: tuple[str, ...]
