"""Findings as text for people and as data for tools; one module per format."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from ..diagnostics import Diagnostic

FORMATS = ("text", "concise", "json", "sarif", "github")


def render(findings: Sequence[Diagnostic], format: str, color: bool = False) -> str:
    """The findings in one of `FORMATS`, ending in a newline unless empty."""
    module = import_module(f".{format}", __package__)
    text: str = module.render(findings, color) if format == "text" else module.render(findings)
    return text


def count(findings: Sequence[Diagnostic]) -> str:
    """How many there are: `2 errors, 1 warning`."""
    errors = sum(finding.severity == "error" for finding in findings)
    parts = [(errors, "error"), (len(findings) - errors, "warning")]
    return ", ".join(f"{number} {word}{'s' * (number != 1)}" for number, word in parts if number) or "no findings"
