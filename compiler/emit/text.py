"""Text of a spec made safe for generated code: identifiers, string literals, comments and docstrings."""

from __future__ import annotations

import keyword
import re
from pathlib import PurePath
from typing import Final

from ...dsl.source import Span

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
LONGEST: Final = 48
"""Characters of a variable name before its sizes."""


class UnsafeName(ValueError):
    """A name that cannot stand in generated code; the compiler checks names before, so this is a defect of it."""


def identifier(name: str) -> str:
    """The name itself, if it is a plain identifier."""
    if not _IDENTIFIER.match(name) or keyword.iskeyword(name):
        raise UnsafeName(f"{name!r} is not an identifier")
    return name


def dotted(path: str) -> str:
    """A path of identifiers and whole numbers, such as `layers.3.weight`."""
    for part in path.split("."):
        if not part.isascii() or not part.isdigit():
            identifier(part)
    return path


def fitting(name: str, fallback: str = "model") -> str:
    """The name with every other character replaced, so that it is an identifier."""
    text = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)[:LONGEST]
    text = text if text.strip("_") else fallback
    text = f"_{text}" if text[0].isdigit() else text
    return f"{text}_" if keyword.iskeyword(text) else text


def class_name(name: str) -> str:
    """`decoder_layer` -> `DecoderLayer`."""
    parts = [part for part in fitting(name).split("_") if part]
    text = "".join(part[0].upper() + part[1:] for part in parts)
    return text if text and text[0].isalpha() and not keyword.iskeyword(text) else f"Block{text}"


def literal(value: object) -> str:
    """A Python literal of a plain value, written as the formatter would."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(literal(item) for item in value) + ("," if len(value) == 1 else "") + ")"
    if value is None or isinstance(value, bool | int | float):
        return number(value) if type(value) is int else repr(value)
    raise UnsafeName(f"{value!r} cannot become a literal")


def number(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:_}" if abs(value) >= 10_000 else str(value)


def quoted(value: str) -> str:
    """A string literal; what is not printable, or could turn the direction of the text, is escaped."""
    quote = "'" if value.count('"') > value.count("'") else '"'
    return quote + "".join(_escaped(char, quote) for char in value) + quote


def _escaped(char: str, quote: str) -> str:
    if char in (quote, "\\"):
        return "\\" + char
    if char.isprintable():
        return char
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or ascii(char)[1:-1]


def comment(value: str) -> str:
    """One line of text that cannot end its comment, nor its docstring."""
    kept = "".join(char if char.isprintable() else "?" for char in value)
    return kept.replace("\\", "/").replace('"', "'").strip()[:80].rstrip()


def file_name(name: str) -> str:
    """The name of a spec's file without its folders, which differ between machines; library files keep `std/`."""
    return comment(name if name.startswith("std/") else PurePath(name).name)


def place(span: Span | None) -> str:
    """`stdlib_gpt.dsk:12`, or nothing for what no text says."""
    return f"{file_name(span.source.name)}:{span.line}" if span is not None else ""
