"""The language: text to a resolved spec."""

from .resolve import load

__all__ = ["load"]
