"""Names that statements bind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...dsl.ast import Binding, If, Let, Repeat, Statement
from ...dsl.source import Span


def bound_names(body: Sequence[Statement], repeats: bool = False) -> Iterator[tuple[str, Span]]:
    """Bound names with their places, in both branches of an `if`; those inside a repeat stay inside it."""
    for statement in body:
        match statement:
            case Binding():
                yield from zip(statement.names, statement.name_spans, strict=True)
            case Let():
                yield statement.name, statement.name_span
            case If():
                yield from bound_names((*statement.body, *statement.orelse), repeats)
            case Repeat() if repeats:
                yield from bound_names(statement.body, repeats)
            case _:
                pass
