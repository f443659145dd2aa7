"""Modules of the user's own: their files are copied beside the program and imported by name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from ...dsl.source import Span
from ..node import Body
from .text import UnsafeName, identifier

TAKEN = frozenset(
    {"model", "train", "parallel", "kernels", "test_program", "dskc", "dskc_runtime", "torch", "numpy"}
    | {"__init__", "__main__"}
)


@dataclass(frozen=True)
class ExternFile:
    """A file, relative to the spec, and the classes that the program takes from it."""

    path: str
    classes: tuple[str, ...]
    span: Span

    @property
    def module(self) -> str:
        """The name that it is imported by."""
        return PurePosixPath(self.path).stem


def extern_files(bodies: Iterable[Body]) -> tuple[ExternFile, ...]:
    """The user's files that the bodies call, by path."""
    found: dict[str, ExternFile] = {}
    for body in bodies:
        for node in body.nodes:
            if node.op == "extern":
                path, name = node.attrs["path"], node.attrs["class"]
                known = found[path].classes if path in found else ()
                found[path] = ExternFile(path, tuple(sorted({*known, name})), node.span)
    return tuple(found[path] for path in sorted(found))


def fault(file: ExternFile, others: Iterable[ExternFile]) -> str | None:
    """Why a file cannot be imported beside the program, or None."""
    try:
        for name in (file.module, *file.classes):
            identifier(name)
    except UnsafeName:
        return "its name is not that of a Python module: letters, digits and `_` only"
    if file.module in TAKEN or file.module in sys.stdlib_module_names:
        return f"a module called `{file.module}` exists already in the program"
    if any(other.module == file.module and other.path != file.path for other in others):
        return f"another file is called `{file.module}.py` as well"
    return None


def extern_imports(files: Iterable[ExternFile]) -> list[str]:
    """Import statements of the classes."""
    return [f"from {identifier(f.module)} import {', '.join(map(identifier, f.classes))}" for f in files]
