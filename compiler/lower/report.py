"""Findings of the lowering, told at the place that a person can change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...dsl.ast import Argument, Expr, Name
from ...dsl.diagnostics import Fix, Label, Sink
from ...dsl.source import Span
from ...dsl.suggest import nearest


@dataclass(frozen=True)
class Frame:
    """A call that is being lowered; `arguments` are the arguments of the call by parameter."""

    block: str
    call: Span
    arguments: Mapping[str, Argument]


@dataclass
class Reporter:
    """Adds findings to the sink; one place gives one error per code, however often its block is made concrete."""

    sink: Sink
    frames: list[Frame] = field(default_factory=list)
    told: set[tuple[str, str, int, int]] = field(default_factory=set)
    errors: int = 0

    @contextmanager
    def inside(self, frame: Frame) -> Iterator[None]:
        """What is reported meanwhile was found while lowering that call."""
        self.frames.append(frame)
        try:
            yield
        finally:
            self.frames.pop()

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        help: str | None = None,
        labels: tuple[Label, ...] = (),
        fix: Fix | None = None,
        culprit: Expr | None = None,
    ) -> None:
        """Reports an error; one inside a library block is moved to the call, or the argument, that led to it."""
        self.errors += 1
        place = self._outside(span, culprit)
        if place is not None:
            labels = (Label(span, f"found in `{self.frames[-1].block}`, here"), *labels)
        elif self.frames and not labels and self.frames[-1].call != span and not in_library(self.frames[-1].call):
            labels = (Label(self.frames[-1].call, f"in this call of `{self.frames[-1].block}`"),)
        at = place or span
        where = (code, at.source.name, at.start, at.end)
        if where not in self.told:
            self.told.add(where)
            self.sink.error(code, message, at, help, labels, fix)

    def _outside(self, span: Span, culprit: Expr | None) -> Span | None:
        """The place in the user's own text that a place in the library comes from."""
        if not in_library(span):
            return None
        for frame in reversed(self.frames):
            argument = frame.arguments.get(culprit.text) if isinstance(culprit, Name) else None
            culprit = argument.value if argument is not None else None
            place = argument.span if argument is not None else frame.call
            if not in_library(place):
                return place
        return None


def in_library(span: Span) -> bool:
    """Whether a place is in a file that comes with dskc."""
    return span.source.name.startswith("std/")


def similar(name: str, candidates: Iterable[str], what: str = "name") -> str | None:
    """The help that names the nearest candidate."""
    found = nearest(name, candidates)
    return f"a {what} with a similar name exists: `{found}`" if found else None
