"""What `dskc verify` writes: the small program in its layout and in one process, and the test that compares them."""

from __future__ import annotations

from dataclasses import dataclass

from ..layout import Layout
from ..pair import Pair
from .render import render
from .text import comment, file_name


@dataclass(frozen=True)
class TestView:
    """What `test_program.py` says; `notes` tell what is smaller than in the spec."""

    title: str
    spec_file: str
    ranks: int
    layout: str
    imports: tuple[str, ...]
    notes: tuple[str, ...]


def verification(pair: Pair, asked: Layout, name: str) -> dict[str, str]:
    """Files by path: `test_program.py`, `one_process/...`, `ranks/...`."""
    layout = pair.small.layout
    changed = ", ".join(f"{what} {before:,} -> {after:,}" for what, before, after in pair.small.changed)
    notes = [f"Made small: {comment(part)}" for part in _lines(changed)] if changed else []
    if shape(layout) != shape(asked):
        notes.insert(0, f"The spec asks for {shape(asked)}: {asked.world} ranks.")
    view = TestView(
        f"Whether `{comment(name)}` computes in its layout what it computes in one process.",
        file_name(pair.small.source.name),
        layout.world,
        shape(layout),
        ("from dskc.runtime import parity",),
        tuple(notes),
    )
    files = {"test_program.py": render("program/test_program.py", view)}
    files |= {f"one_process/{path}": text for path, text in pair.one.items()}
    return files | {f"ranks/{path}": text for path, text in pair.several.items() if not path.startswith("launch/")}


def shape(layout: Layout) -> str:
    """`pipeline 2 x data 2 x tensor 2`, with what else there is to say."""
    sizes = [f"{axis} {getattr(layout, axis)}" for axis in ("pipeline", "data", "tensor") if getattr(layout, axis) > 1]
    more = [layout.schedule.replace("_", "-")] if layout.pipeline > 1 else []
    more += [f"shard {layout.shard}"] if layout.shard != "none" else []
    more += ["sequence parallel"] if layout.sequence_parallel else []
    return ", ".join([" x ".join(sizes) or "one process", *more])


def _lines(text: str) -> list[str]:
    """Parts of a list of at most 75 characters."""
    lines = [""]
    for word in text.split(", "):
        if len(lines[-1]) + len(word) > 60:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + word
    return lines
