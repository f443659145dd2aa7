"""The family `rows`: kernels of element-wise chains with at most one reduction over a row, from their expressions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..fusion.expression import Kind
from ..fusion.group import Leaf
from ..fusion.program import GRADIENT, Program, Stored
from ..fusion.rows import passes, stored
from .expressions import statements
from .layout import assignment, bracketed, fits
from .text import class_name, fitting

DATA = Path(__file__).parents[2] / "templates" / "kernels"
RESERVED = frozenset(
    {
        *("row", "column", "inside", "rows", "start", "programs", "tile", "wide", "shape", "ctx", "self", "run"),
        *("tl", "triton", "torch", "tiles", "range", "Tensor", "Any"),
        *("COLUMNS", "ROWS", "BLOCK", "WIDE", "SPACE"),
    }
)
AXES: dict[Kind, tuple[str, str]] = {
    "tile": ("row * {stride} + column", "inside"),
    "row": ("row", "row < rows"),
    "vector": ("column", "column < COLUMNS"),
}


@dataclass(frozen=True)
class Kernel:
    """Text of one kernel; `head` opens the loop over rows, `indent` is that of its body."""

    arguments: tuple[str, ...]
    loads: tuple[str, ...]
    statements: tuple[str, ...]
    stores: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    indent: int = 4


@dataclass(frozen=True)
class RowsView:
    """All of a kernel's text; `launch` ... `call` are lines of functions."""

    name: str
    class_name: str
    header: tuple[str, ...]
    table_name: str
    table: str
    inside: str
    forward: Kernel
    backward: Kernel
    launch: tuple[str, ...]
    launch_gradient: tuple[str, ...]
    reference: tuple[str, ...]
    gradient: tuple[str, ...]
    registration: tuple[str, ...]
    apply: tuple[str, ...]
    back: tuple[str, ...]
    call: tuple[str, ...]


@cache
def tuning() -> dict[str, Any]:
    """Blocks of columns, and rows and warps of a tile by architecture and block."""
    data: dict[str, Any] = json.loads((DATA / "rows.json").read_text("utf-8"))
    return data


@dataclass(frozen=True)
class Rows:
    """What the text of one kernel is made from.

    `formats` are kinds and formats of inputs and outputs by name, `narrow` the outputs that only products read.
    `variables` are the names of tensors in the text.
    """

    name: str
    program: Program
    formats: dict[str, tuple[str, str]]
    narrow: frozenset[str]
    variables: Mapping[str, str]

    @property
    def columns(self) -> int:
        """Elements of a row."""
        return self.program.group.columns

    @property
    def block(self) -> int:
        """Columns of a tile: the whole row where something is reduced over it."""
        least = max(32, 1 << (self.columns - 1).bit_length())
        return least if self.reduces else min(least, int(tuning()["block"]))

    @property
    def reduces(self) -> bool:
        """Whether forward or backward reduce over the columns."""
        return bool(self.program.saved) or any(
            expr.kind == "row" and expr.op != "input" for expr in self.program.made.known.values()
        )

    @property
    def exact(self) -> bool:
        """Whether tiles have no columns beyond the row."""
        return self.columns % self.block == 0

    @property
    def blocks(self) -> int:
        """Tiles beside each other."""
        return -(-self.columns // self.block)

    def tiles(self) -> dict[str, tuple[int, int]]:
        """Rows and warps of a tile by architecture."""
        return {arch: tuple(table[str(self.block)]) for arch, table in tuning()["tiles"].items()}

    def variable(self, name: str) -> str:
        """The variable of an input, output or gradient."""
        return self.variables[name]

    def given(self) -> list[str]:
        """Variables of the inputs."""
        return [self.variable(leaf.name) for leaf in self.program.inputs]

    def leaf(self, name: str) -> Leaf | None:
        """The input of this name."""
        return next((leaf for leaf in self.program.inputs if leaf.name == name), None)

    def tall(self) -> str:
        """The variable of an input that is a tile."""
        return self.variable(next(leaf.name for leaf in self.program.inputs if leaf.kind == "tile"))

    def kept(self) -> list[str]:
        """Variables of what backward is given: inputs and outputs, then saved rows."""
        return [self.variable(name) for name in (*self.program.reads, *(each.name for each in self.program.saved))]

    def stored(self) -> tuple[Stored, ...]:
        """Gradients that are written."""
        return stored(self.program, self.formats)

    def source(self, each: Stored) -> str:
        """Which variable a gradient is returned from."""
        if passes(self.program, each):
            return self.variable(each.value.name)
        if each.kind == "vector":
            return self.variable(each.name)
        wanted = (each.value, self.formats[each.name.removeprefix(GRADIENT)])
        same = (s for s in self.stored() if (s.value, self.formats[s.name.removeprefix(GRADIENT)]) == wanted)
        return self.variable(next(same).name)


def variables_of(program: Program) -> dict[str, str]:
    """Names of tensors in the text: those in the plan, told apart from each other and from the kernel's own."""
    names = [leaf.name for leaf in program.inputs]
    names += [each.name for each in (*program.outputs, *program.saved, *program.gradients)]
    names += program.incoming
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        wanted = fitting(name)
        wanted = f"{wanted}_" if wanted in RESERVED else wanted
        variable, number = wanted, 1
        while variable in found.values():
            number += 1
            variable = f"{wanted}_{number}"
        found[name] = variable
    return found


def rows_view(rows: Rows, header: Sequence[str]) -> RowsView:
    """The view of a kernel."""
    tiles = ", ".join(f'"{arch}": tiles.Tile({r}, {warps})' for arch, (r, warps) in rows.tiles().items())
    from .row_functions import functions

    return RowsView(
        name=rows.name,
        class_name=class_name(rows.name),
        header=tuple(header),
        table_name=f"{rows.name.upper()}",
        table="{" + tiles + "}",
        inside="row < rows" if rows.exact else "(row < rows) & (column < COLUMNS)",
        forward=forward(rows),
        backward=backward(rows),
        **functions(rows),
    )


def _pointers(rows: Rows, reads: Sequence[tuple[str, Kind]], writes: Sequence[str]) -> tuple[str, ...]:
    pointers = [f"{rows.variable(name)}_ptr," for name, _ in reads] + [f"{name}_ptr," for name in writes]
    strides = [f"{rows.variable(name)}_stride," for name, kind in reads if kind == "tile"]
    sizes = [f"{name}: tl.constexpr," for name in ("COLUMNS", "ROWS", "BLOCK", "WIDE")]
    return (*pointers, *strides, "rows,", *sizes)


def _load(rows: Rows, name: str, kind: Kind, indent: int = 4) -> list[str]:
    variable = rows.variable(name)
    where, mask = AXES[kind]
    where = f"{variable}_ptr + {where.format(stride=f'{variable}_stride')}"
    masks = [] if kind == "vector" and rows.exact else [f"mask={mask}", "other=0.0"]
    head, tail = f"{variable} = tl.load(", ").to(WIDE)"
    if fits(head + ", ".join([where, *masks]) + tail, indent):
        return [head + ", ".join([where, *masks]) + tail]
    return bracketed(head, [where, *masks], tail, indent) if masks else [head, f"    {where}", tail]


def _store(name: str, text: str, kind: Kind, own: Kind, indent: int = 4) -> list[str]:
    where, mask = AXES[kind]
    shape = "(ROWS, BLOCK)" if kind == "tile" else "(ROWS, 1)"
    value = f"tl.full({shape}, {text}, WIDE)" if own == "number" else text
    value = f"tl.broadcast_to({value}, {shape})" if kind == "tile" and own in ("row", "vector") else value
    where = f"{name}_ptr + {where.format(stride='COLUMNS')}"
    return bracketed("tl.store(", [where, value, f"mask={mask}"], ")", indent)


def forward(rows: Rows) -> Kernel:
    """The forward kernel."""
    program = rows.program
    reads = [(leaf.name, leaf.kind) for leaf in program.inputs]
    writes = [*program.outputs, *program.saved]
    names = {name: rows.variable(name) for name, _ in reads}
    formats = {each.name: f"{rows.variable(each.name)}_ptr.dtype.element_ty" for each in program.outputs}
    arguments = _pointers(rows, reads, [rows.variable(each.name) for each in writes])
    taken = {*RESERVED, *(argument.strip(",") for argument in arguments)}
    roots = [each.value for each in writes]
    lines, texts = statements(roots, names, program.made.names, formats, taken, True, rows.exact)
    stores = [
        line
        for each, text in zip(writes, texts, strict=True)
        for line in _store(rows.variable(each.name), text, each.kind, each.value.kind)
    ]
    loads = [line for name, kind in reads for line in _load(rows, name, kind)]
    return Kernel(arguments, tuple(loads), tuple(lines), tuple(stores))


def backward(rows: Rows) -> Kernel:
    """The backward kernel; with gradients of vectors, a few programs go over all rows and add up."""
    program = rows.program
    kinds: dict[str, Kind] = {each.name: each.kind for each in (*program.outputs, *program.saved)}
    kinds |= {leaf.name: leaf.kind for leaf in program.inputs}
    incoming: list[tuple[str, Kind]] = [(name, kinds[name.removeprefix(GRADIENT)]) for name in program.incoming]
    reads = [*((name, kinds[name]) for name in program.loads), *incoming]
    stored, indent = rows.stored(), 8 if program.vectors else 4
    names = {name: rows.variable(name) for name, _ in reads}
    outside = [name for name, kind in reads if kind == "vector"]
    arguments = _pointers(rows, reads, [rows.variable(each.name) for each in stored])
    taken = {*RESERVED, *(argument.strip(",") for argument in arguments)}
    lines, texts = statements([e.value for e in stored], names, program.made.names, {}, taken, True, rows.exact, indent)
    stores: list[str] = []
    finish: list[str] = []
    fixed = [line for name in outside for line in _load(rows, name, "vector")]
    for each, text in zip(stored, texts, strict=True):
        variable = rows.variable(each.name)
        if each.kind != "vector":
            stores += _store(variable, text, each.kind, each.value.kind, indent)
            continue
        fixed.append(f"{variable}_total = tl.zeros((ROWS, BLOCK), WIDE)")
        stores += assignment(f"{variable}_total += ", f"tl.where(row < rows, {text}, 0.0)", indent)
        where = f"{variable}_ptr + tl.program_id(0) * COLUMNS + column"
        total = f"tl.sum({variable}_total, 0, keep_dims=True)"
        finish += bracketed("tl.store(", [where, total, "mask=column < COLUMNS"], ")", 4)
    loads = [line for name, kind in reads if kind != "vector" for line in _load(rows, name, kind, indent)]
    inside = "inside = row < rows" if rows.exact else "inside = (row < rows) & (column < COLUMNS)"
    if program.vectors:
        head = ["for start in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):"]
        head += ["    row = start + tl.arange(0, ROWS)[:, None].to(tl.int64)", f"    {inside}"]
    else:
        head = ["row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]", inside]
    return Kernel(
        arguments, tuple(loads), tuple(lines), tuple(stores), tuple(fixed), tuple(head), tuple(finish), indent
    )
