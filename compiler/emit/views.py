"""What the templates are given: everything in them is decided, formatted and safe to write."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """A function or method: its header (one line or more), one line of documentation, its body."""

    header: tuple[str, ...]
    doc: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Class:
    """A module: the line `class ...`, and its methods."""

    header: tuple[str, ...]
    doc: str
    methods: tuple[Function, ...]


@dataclass(frozen=True)
class ModelView:
    """`model.py`."""

    title: str
    legend: tuple[str, ...]
    imports: tuple[tuple[str, ...], ...]
    tables: tuple[str, ...]
    classes: tuple[Class, ...]


@dataclass(frozen=True)
class TrainView:
    """`train.py`."""

    title: str
    usage: tuple[str, ...]
    imports: tuple[tuple[str, ...], ...]
    constants: tuple[str, ...]
    functions: tuple[Function, ...]
