"""The family `rows` in `kernels.py`: names, equality of computations, and headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dims import Dim, substitute
from ..fusion.bytes import formats_of
from ..fusion.group import Group
from ..fusion.program import program_of
from .render import render
from .row_kernels import Rows, backward, forward, rows_view, variables_of
from .text import comment, place

if TYPE_CHECKING:
    from .kernels import Context

MOST = 4
"""Ops that the name of a kernel lists."""


def rows_of(context: Context, group: Group, name: str) -> Rows:
    """What the text is made from."""
    nodes = {node.name: node for node in context.plan.nodes(group.body)}
    program = program_of(group, nodes)
    narrow = frozenset(name for name, _ in group.narrow)
    return Rows(name, program, formats_of(context.plan, group), narrow, variables_of(program))


def key(context: Context, group: Group) -> str:
    """Text of the kernels with names that do not depend on the plan's."""
    rows = rows_of(context, group, "kernel")
    names = {old: f"v{index}" for index, old in enumerate(rows.variables)}
    rows.program.made.names.clear()
    plain = Rows("kernel", rows.program, rows.formats, rows.narrow, names)
    formats = [rows.formats[each] for each in rows.variables if each in rows.formats]
    return repr((group.columns, formats, sorted(rows.narrow) != [], forward(plain), backward(plain)))


def base(context: Context, group: Group) -> str:
    """`add_rms_norm`: the ops, or the kind of a long chain."""
    ops = [context.plan.graphs[group.body].nodes[name]["node"].op for name in group.nodes]
    ops = ["bias", *ops] if group.biases else ops
    return "_".join(ops) if len(ops) <= MOST else f"{group.kind.replace(' ', '_').replace('_+_', '_')}"


def finer(context: Context, group: Group) -> str:
    """With the length of a row."""
    return f"{base(context, group)}_{group.columns}"


def text(context: Context, group: Group, name: str) -> str:
    """The kernel with all that belongs to it."""
    rows = rows_of(context, group, name)
    return render("kernels/rows.py", rows_view(rows, header(context, group, rows)))


def header(context: Context, group: Group, rows: Rows) -> list[str]:
    """What it computes, where it comes from, and what it moves."""
    nodes = {node.name: node for node in context.plan.nodes(group.body)}
    places = ", ".join(dict.fromkeys(place(nodes[name].span) for name in (*group.biases, *group.nodes)))
    lines = [f"# {rows.name}: {comment(group.kind)}, rows of {group.columns:,}  # {places}"]
    for which, (alone, fused) in (("forward", group.forward), ("backward", group.backward)):
        amount, other = (_number(context, each) for each in (fused, alone))
        micros = amount / context.machine.bandwidth * 1e6
        lines.append(
            f"# {which}: {_size(amount)} for one micro-batch, {micros:.1f} us at {context.machine.bandwidth / 1e9:,.0f}"
            f" GB/s ({context.machine.name}); op by op {_size(other)}"
        )
    return lines


def _number(context: Context, amount: Dim) -> int:
    value = substitute(amount, context.plan.sizes)
    assert isinstance(value, int)
    return value


def _size(amount: int) -> str:
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} B"
