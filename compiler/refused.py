"""What a pass says when a plan cannot be laid out as the spec asks: an error of the spec, found with the plan."""

from __future__ import annotations

from ..dsl.diagnostics import Diagnostic


class Refused(Exception):
    """Carries the finding to whoever shows it."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic
