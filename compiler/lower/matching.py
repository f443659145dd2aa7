"""Which argument of a call fills which parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ...dsl.ast import Argument, Call
from ...dsl.diagnostics import Label
from .report import similar
from .values import Meaning

if TYPE_CHECKING:
    from .state import State


@dataclass(frozen=True)
class Given:
    """An argument and what it stands for."""

    argument: Argument
    meaning: Meaning


@dataclass(frozen=True)
class Signature:
    """What can be passed: tensors in order (the last one any number of times if `variadic`), then values.

    With `sizes` a whole number may have any further name.
    """

    tensors: tuple[str, ...]
    values: tuple[str, ...]
    required: frozenset[str]
    variadic: bool = False
    sizes: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All parameters."""
        return (*self.tensors, *(name for name in self.values if name not in self.tensors))


Matched = dict[str, list[Given]]


def match(state: State, call: Call, signature: Signature, given: Sequence[Given]) -> Matched | None:
    """The arguments by parameter; None after an error."""
    matched: Matched = {}
    faults = 0
    position = 0
    for one in given:
        name = one.argument.name
        if name is None:
            name = _position(signature, position)
            position += 1
            if name is None:
                faults += _too_many(state, call, signature, one)
                continue
        elif name not in signature.names and not signature.sizes:
            faults += _unknown(state, call, signature, one)
            continue
        if name in matched and not (signature.variadic and name == signature.tensors[-1]):
            faults += _twice(state, call, name, matched[name][0], one)
            continue
        matched.setdefault(name, []).append(one)
    missing = [name for name in signature.names if name in signature.required and name not in matched]
    if missing and not faults:
        faults += _missing(state, call, signature, missing)
    return None if faults else matched


def _position(signature: Signature, position: int) -> str | None:
    if signature.variadic and position >= len(signature.tensors):
        return signature.tensors[-1]
    return signature.names[position] if position < len(signature.names) else None


def _too_many(state: State, call: Call, signature: Signature, one: Given) -> int:
    takes = ", ".join(f"`{name}`" for name in signature.names) or "nothing"
    message = f"`{call.function.text}` takes {takes}; this is one more"
    state.report.error("E0509", message, one.argument.span, "remove it")
    return 1


def _unknown(state: State, call: Call, signature: Signature, one: Given) -> int:
    name = one.argument.name or ""
    help = similar(name, signature.names, "parameter") or f"it takes: {', '.join(signature.names) or 'nothing'}"
    message = f"`{call.function.text}` has no parameter `{name}`"
    state.report.error("E0507", message, one.argument.name_span or one.argument.span, help)
    return 1


def _twice(state: State, call: Call, name: str, first: Given, second: Given) -> int:
    message = f"`{name}` of `{call.function.text}` is given twice"
    labels = (Label(first.argument.span, "first here"),)
    state.report.error("E0508", message, second.argument.span, "remove one of them", labels)
    return 1


def _missing(state: State, call: Call, signature: Signature, missing: list[str]) -> int:
    text = ", ".join(f"`{name}`" for name in missing)
    kind = "tensor" if missing[0] in signature.tensors else "value"
    help = f"pass the {kind}: {call.function.text}({'..., ' if kind == 'value' else ''}{missing[0]}: ...)"
    state.report.error("E0506", f"`{call.function.text}` needs {text}", call.function.span, help)
    return 1
