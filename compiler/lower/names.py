"""What a name of the model stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ...dsl.ast import Name
from ...dsl.diagnostics import Label
from ...dsl.spec import Scope as Visible
from ...dsl.suggest import correction
from ...dsl.values import Quantity, Symbol
from ..ops import OPS
from .report import similar
from .scope import Scope
from .values import POISON, Function, Meaning

if TYPE_CHECKING:
    from .state import State

LIBRARY = Path(__file__).parents[2] / "dsl" / "std"


def look_up(state: State, scope: Scope, name: Name) -> Meaning:
    """The meaning of a name in an expression; POISON and an error where it has none."""
    if len(name.path) > 1:
        return _setting(state, scope, name)
    (word,) = name.path
    if scope.binds(word):
        return scope.look_up(word, name.span)
    if word in scope.visible.constants:
        return _plain(state, scope, name, scope.visible.constants[word])
    found = find_function(scope.visible, word)
    return found if found is not None else _unknown(state, scope, name)


def function(state: State, scope: Scope, name: Name) -> Function | None:
    """The op or block that a call names: a parameter of type `op` first, then blocks and ops; None after an error."""
    local = scope.peek(name.text)
    if isinstance(local, Function) or local is POISON:
        return local if isinstance(local, Function) else None
    found = find_function(scope.visible, name.text)
    if found is None:
        _unknown_function(state, scope, name)
    return found


def find_function(visible: Visible, name: str) -> Function | None:
    """The block, extern op or op of a name."""
    if name in visible.blocks:
        definition = visible.blocks[name]
        return Function("block", name, definition, definition.scope)
    if name in visible.externs:
        return Function("extern", name, visible.externs[name], visible)
    if isinstance(visible.constants.get(name), Symbol):
        return find_function(visible, str(visible.constants[name])) if str(visible.constants[name]) != name else None
    return Function("op", name, OPS[name]) if name in OPS else None


def _plain(state: State, scope: Scope, name: Name, value: object) -> Meaning:
    """A setting or constant as a value of the model."""
    if isinstance(value, Quantity) and value.dimension == "share":
        return value.value
    if isinstance(value, Symbol):
        found = find_function(scope.visible, value.name)
        return found if found is not None else value.name
    if isinstance(value, list | tuple):
        return tuple(_plain(state, scope, name, item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    state.report.error("E0505", f"`{name.text}` is {value}, which a model cannot use", name.span)
    return POISON


def _setting(state: State, scope: Scope, name: Name) -> Meaning:
    if scope.binds(name.path[0]):
        state.report.error("E0501", f"`{name.path[0]}` has no part `{'.'.join(name.path[1:])}`", name.span)
        return POISON
    try:
        value = state.spec.setting(name.text)
    except KeyError:
        help = similar(name.text, state.spec.origins, "setting")
        state.report.error("E0501", f"there is no setting `{name.text}`", name.span, help)
        return POISON
    if value is None:
        help = f"give it a value: {name.path[0]} {{ {name.path[-1]}: ... }}"
        state.report.error("E0501", f"the setting `{name.text}` has no value", name.span, help)
        return POISON
    return _plain(state, scope, name, value)


def _unknown(state: State, scope: Scope, name: Name) -> Meaning:
    missing = _missing(scope, name.text)
    if missing is not None:
        state.report.error("E0532", f"`{name.text}` has no value here", name.span, labels=(missing,))
        return POISON
    settings = [path for path in state.spec.origins if path.split(".")[-1] == name.text]
    fix = correction(name.text, scope.known() | set(scope.visible.constants), name.span)
    if fix is not None:
        help = f"a name with a similar name exists: `{fix.replacement}`"
    else:
        help = f"the setting is called `{settings[0]}` here" if settings else "bind it before this line"
    state.report.error("E0501", f"unknown name `{name.text}`", name.span, help, fix=fix)
    return POISON


def _missing(scope: Scope, name: str) -> Label | None:
    at: Scope | None = scope
    while at is not None:
        if name in at.missing:
            return Label(*at.missing[name])
        at = at.parent
    return None


def _unknown_function(state: State, scope: Scope, name: Name) -> None:
    if scope.binds(name.text) or name.text in scope.visible.constants:
        message = f"`{name.text}` is a tensor or a value here, and there is no block or op of that name"
        state.report.error("E0502", message, name.span)
        return
    source = library_file(name.text)
    known = {*OPS, *scope.visible.blocks, *scope.visible.externs}
    fix = correction(name.text, known, name.span) if source is None else None
    help = f"a block or op with a similar name exists: `{fix.replacement}`" if fix else "write it as a `block`"
    help = f"`import {source}` brings it" if source else help
    state.report.error("E0502", f"there is no block or op `{name.text}`", name.span, help, fix=fix)


def library_file(name: str) -> str | None:
    """The library file that holds a block of that name: "std.vision"."""
    pattern = re.compile(rf"^block {re.escape(name)}\(", re.MULTILINE)
    for path in sorted(LIBRARY.glob("*.dsk")):
        if pattern.search(path.read_text(encoding="utf-8")):
            return f"std.{path.stem}"
    return None
