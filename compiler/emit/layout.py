"""Lines of Python as `ruff format` would break them at 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

WIDTH: Final = 100
_OPEN, _CLOSE = "([{", ")]}"


def fits(text: str, indent: int) -> bool:
    """Whether a line of that indentation is not too long."""
    return indent + len(text) <= WIDTH


def split_arguments(text: str) -> list[str]:
    """The parts of a comma-separated text at its outermost level."""
    parts, depth, start, quote = [], 0, 0, ""
    skip = False
    for i, char in enumerate(text):
        if skip or (quote and char == "\\"):
            skip = not skip
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _OPEN + _CLOSE:
            depth += 1 if char in _OPEN else -1
        elif char == "," and not depth:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()] if text[start:].strip() else parts


def bracketed(head: str, arguments: Sequence[str], tail: str, indent: int = 0) -> list[str]:
    """`head` arguments `tail` on one line, else the arguments on a second line, else one to a line."""
    joined = ", ".join(arguments)
    if fits(head + joined + tail, indent):
        return [head + joined + tail]
    if fits("    " + joined, indent):
        return [head, "    " + joined, tail]
    return [head, *(f"    {argument}," for argument in arguments), tail]


def assignment(target: str, expression: str, indent: int) -> list[str]:
    """`target = expression`, broken inside the brackets of its last call where it is too long."""
    text = f"{target}{expression}"
    if fits(text, indent):
        return [text]
    opening = _last_group(expression)
    if opening is None or _depth_calls(expression[:opening]):
        return [f"{target}(", f"    {expression}", ")"]
    arguments = split_arguments(expression[opening + 1 : -1])
    return bracketed(target + expression[: opening + 1], arguments, expression[-1], indent)


def _last_group(text: str) -> int | None:
    """Where the brackets open that close at the very end of the text."""
    if not text.endswith((")", "]")):
        return None
    depth = 0
    for i in range(len(text) - 1, -1, -1):
        depth += (text[i] in _CLOSE) - (text[i] in _OPEN)
        if not depth:
            return i
    return None


def _depth_calls(text: str) -> bool:
    """Whether the callee is more than names and dots."""
    return not all(char.isalnum() or char in "._" for char in text)


def commented(lines: Sequence[str], note: str, indent: int) -> list[str]:
    """The lines with a comment at the end of the first, or above where there is no room."""
    if not note:
        return list(lines)
    if len(lines) == 1 and fits(f"{lines[0]}  # {note}", indent):
        return [f"{lines[0]}  # {note}"]
    return [f"# {note}", *lines]


def indented(lines: Iterable[str], levels: int = 1) -> list[str]:
    """The lines further to the right."""
    return [("    " * levels + line) if line else "" for line in lines]
