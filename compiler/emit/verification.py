"""`test_program.py` and what it runs: the program made small, in its layout and in one process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..layout import Layout
from ..pair import Pair
from .render import render
from .standalone import PACKAGE, runtime_files
from .text import comment, file_name

SMALL: Final = "small"
"""The folder of the small programs."""


@dataclass(frozen=True)
class Test:
    """A test: what has to be without failures."""

    name: str
    doc: str
    reports: str


@dataclass(frozen=True)
class TestView:
    """What `test_program.py` says; `notes` tell what is smaller than in the spec."""

    title: str
    spec_file: str
    folder: str
    processes: str
    imports: str
    constants: tuple[str, ...]
    notes: tuple[str, ...]
    tests: tuple[Test, ...]
    main: tuple[str, ...]


ALONE: Final = (
    Test(
        "test_a_stopped_run_goes_on",
        "Five steps and five more: the losses of ten, to the bit.",
        'resume.same(SMALL / "one_process")',
    ),
)
MANY: Final = (
    Test(
        "test_the_layout_computes_what_one_process_computes",
        "Gradients of one step for every parameter, and losses of ten.",
        "parity.compare(ONE, RANKS, COUNT)",
    ),
    Test(
        "test_a_stopped_run_goes_on",
        "Five steps and five more: the losses of ten, to the bit.",
        "resume.same(RANKS, COUNT)",
    ),
    Test(
        "test_another_layout_goes_on",
        "What the ranks wrote is taken up by one process, and the other way round.",
        "*resume.across(ONE, RANKS, COUNT)",
    ),
)


def verification(pair: Pair, asked: Layout, name: str, standalone: bool = False) -> dict[str, str]:
    """Files by path: `test_program.py`, `small/one_process/...`, and for several ranks `small/ranks/...`."""
    text = render("program/test_program.py", _view(pair, asked, name, PACKAGE if standalone else "dskc.runtime"))
    files = {"test_program.py": text, **_below("one_process", pair.one)}
    if pair.several is not None:
        files |= _below("ranks", pair.several)
    return files | runtime_files(text) if standalone else files


def _below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    """Files of a small program by their path; there is one runtime for all programs, and nobody launches these."""
    shared = {path: text for path, text in files.items() if path.startswith(f"{PACKAGE}/")}
    own = {path: text for path, text in files.items() if path not in shared and not path.startswith("launch/")}
    return shared | {f"{SMALL}/{folder}/{path}": text for path, text in own.items()}


def _view(pair: Pair, asked: Layout, name: str, runtime: str) -> TestView:
    layout = pair.small.layout
    many = layout.world > 1
    tests = MANY if many else ALONE
    title = "the layout against one process, and going on after a stop" if many else "going on after a stop"
    constants: tuple[str, ...] = ()
    if many:
        constants = (
            'ONE = parity.Reference(SMALL / "one_process")',
            'RANKS = SMALL / "ranks"',
            f"COUNT = {layout.world}  # {shape(layout)}",
        )
    return TestView(
        title=f"Tests of `{comment(name)}`: {title}.",
        spec_file=file_name(pair.small.source.name),
        folder=SMALL,
        processes=f"{layout.world} processes" if many else "one process",
        imports=f"from {runtime} import parity, resume",
        constants=constants,
        notes=tuple(_notes(pair, asked)),
        tests=tests,
        main=tuple(_main([test.name for test in tests])),
    )


def _main(names: list[str]) -> Iterator[str]:
    if len(names) == 1:
        yield f"raise SystemExit(parity.run({names[0]}))"
        return
    yield from ("raise SystemExit(", "    parity.run(", *(f"        {name}," for name in names), "    )", ")")


def _notes(pair: Pair, asked: Layout) -> Iterator[str]:
    layout = pair.small.layout
    if shape(layout) != shape(asked):
        yield f"The spec asks for {shape(asked)}: {asked.world:,} ranks."
    changed = ", ".join(f"{what} {before:,} -> {after:,}" for what, before, after in pair.small.changed)
    if changed:
        first, *rest = _lines(changed)
        yield f"Made small: {comment(first)}"
        yield from (f"    {comment(line)}" for line in rest)


def shape(layout: Layout) -> str:
    """`pipeline 2 x data 2 x tensor 2`, with what else there is to say."""
    sizes = [f"{axis} {getattr(layout, axis)}" for axis in ("pipeline", "data", "tensor") if getattr(layout, axis) > 1]
    more = [layout.schedule.replace("_", "-")] if layout.pipeline > 1 else []
    more += [f"shard {layout.shard}"] if layout.shard != "none" else []
    more += ["sequence parallel"] if layout.sequence_parallel else []
    more += [f"experts on {layout.expert}"] if layout.expert > 1 else []
    return ", ".join([" x ".join(sizes) or "one process", *more])


def _lines(text: str) -> list[str]:
    """Parts of a list of at most 75 characters."""
    lines = [""]
    for word in text.split(", "):
        if len(lines[-1]) + len(word) > 60:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + word
    return lines
