"""What the compiler says about a spec: facts with their place and their remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from .source import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Label:
    """A second place that matters, with what is there."""

    span: Span
    message: str


@dataclass(frozen=True)
class Fix:
    """Replacing the span's text settles the matter; a safe one cannot change what a correct spec means."""

    span: Span
    replacement: str
    safe: bool = True


@dataclass(frozen=True)
class Diagnostic:
    """One finding: `message` states the fact with its numbers, `help` the change to make."""

    code: str
    message: str
    span: Span
    help: str | None = None
    severity: Severity = "error"
    labels: tuple[Label, ...] = ()
    fix: Fix | None = None


@dataclass
class Sink:
    """Collects findings; the same one twice is kept once."""

    found: dict[tuple[str, str, int, int, str], Diagnostic] = field(default_factory=dict)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keeps a finding unless the same one is there already."""
        span = diagnostic.span
        key = (diagnostic.code, span.source.name, span.start, span.end, diagnostic.message)
        self.found.setdefault(key, diagnostic)

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        help: str | None = None,
        labels: tuple[Label, ...] = (),
        fix: Fix | None = None,
    ) -> None:
        """Adds an error."""
        self.add(Diagnostic(code, message, span, help, "error", labels, fix))

    def warning(
        self,
        code: str,
        message: str,
        span: Span,
        help: str | None = None,
        labels: tuple[Label, ...] = (),
        fix: Fix | None = None,
    ) -> None:
        """Adds a warning."""
        self.add(Diagnostic(code, message, span, help, "warning", labels, fix))

    @property
    def failed(self) -> bool:
        """Whether there is an error among the findings."""
        return any(d.severity == "error" for d in self.found.values())

    def __iter__(self) -> Iterator[Diagnostic]:
        """All findings by file and place."""
        return iter(sorted(self.found.values(), key=lambda d: (d.span.source.name, d.span.start, d.code)))

    def __len__(self) -> int:
        return len(self.found)
