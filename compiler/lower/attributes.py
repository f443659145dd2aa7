"""Types of compile-time arguments."""

from __future__ import annotations

from typing import Any, Final

from .values import Function, is_fixed, is_number, is_size

WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text in quotes",
    "name": "a name",
    "ints": "a list of whole numbers",
    "op": "the name of an op or block",
    "any": "a value known when compiling",
}


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of an attribute's or parameter's type."""
    if kind == "op":
        return isinstance(value, Function)
    if not is_fixed(value):
        return False
    if kind == "int":
        return is_size(value)
    if kind == "float":
        return is_number(value)
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("string", "name"):
        return isinstance(value, str)
    if kind == "ints":
        return is_size(value) or (isinstance(value, tuple) and all(is_size(item) for item in value))
    return True
