"""Emission: a plan becomes the files of a program."""

from __future__ import annotations

from .program import program
from .writer import WriteError, write

__all__ = ["WriteError", "program", "write"]
