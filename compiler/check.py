"""Everything that is checked without building a plan."""

from __future__ import annotations

from ..dsl.diagnostics import Sink
from ..dsl.parse import parse
from ..dsl.source import Source


def check(source: Source) -> Sink:
    """What is wrong with a spec."""
    sink = Sink()
    parse(source, sink)
    return sink
