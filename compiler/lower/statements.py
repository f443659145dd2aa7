"""Statements of a block, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...dsl.ast import Binding, Call, If, Let, Name, Objective, Repeat, Return, Statement
from ...dsl.source import Span
from .binding import bound_names
from .expressions import evaluate, fixed, tensor
from .objectives import objective
from .repeats import repeat
from .scope import Scope, variable
from .state import State
from .values import POISON, Meaning, Poison, Ref, Several, shown


@dataclass(frozen=True)
class Returned:
    """What a block returns, and where it says so."""

    refs: tuple[Ref, ...]
    places: tuple[Span, ...]


def run(state: State, scope: Scope, body: Sequence[Statement]) -> Returned | Poison | None:
    """Lowers statements; what they return, POISON if that is wrong, None if they return nothing."""
    for index, statement in enumerate(body):
        returned = _statement(state, scope, statement)
        if returned is None:
            continue
        if index + 1 < len(body) and isinstance(statement, Return):
            message = "nothing runs after `return`"
            state.report.error("E0521", message, body[index + 1].span, "move it before the `return`, or remove it")
        return returned
    return None


def _statement(state: State, scope: Scope, statement: Statement) -> Returned | Poison | None:
    match statement:
        case Binding():
            _binding(state, scope, statement)
        case Let():
            scope.names[statement.name] = fixed(state, scope, statement.value, f"`let {statement.name}`")
        case If():
            return _if(state, scope, statement)
        case Repeat():
            repeat(state, scope, statement, run)
        case Return():
            return _return(state, scope, statement)
        case Objective():
            objective(state, scope, statement)
        case _:
            message = f"this cannot stand in `{scope.root.owner}`"
            help = "a block holds bindings, `if`, `repeat` and `return`; `forward` also `loss`, `metric` and `exit`"
            state.report.error("E0533", message, statement.span, help)
    return None


def _binding(state: State, scope: Scope, binding: Binding) -> None:
    hint = binding.names[0] if len(binding.names) == 1 else None
    meaning = evaluate(state, scope, binding.value, hint)
    if hint is not None and not isinstance(meaning, Several):
        scope.names[hint] = meaning
        return
    if meaning is POISON:
        scope.poison(binding.names)
    elif isinstance(meaning, Several) and len(meaning.refs) == len(binding.names):
        scope.names.update(zip(binding.names, meaning.refs, strict=True))
        source = meaning.refs[0].value[0]
        if [ref.value for ref in meaning.refs] == [(source, index) for index in range(len(meaning.refs))]:
            scope.bound[source] = tuple(variable(name) for name in binding.names)
    elif isinstance(meaning, tuple) and len(meaning) == len(binding.names):
        scope.names.update(zip(binding.names, meaning, strict=True))
    else:
        _wrong_count(state, binding, meaning)
        scope.poison(binding.names)


def _wrong_count(state: State, binding: Binding, meaning: Meaning) -> None:
    number = len(meaning.refs) if isinstance(meaning, Several) else len(meaning) if isinstance(meaning, tuple) else 1
    names = ", ".join(binding.names)
    place = binding.name_spans[0].to(binding.name_spans[-1])
    message = f"{number} value{'s' if number != 1 else ''} cannot be bound to {len(binding.names)} names: {names}"
    listed = ", ".join("abcdefgh"[:number]) if 1 < number <= 8 else "..."
    help = f"write ({listed}) = ..." if number > 1 else "bind it to one name"
    state.report.error("E0522", message, place, help)


def _if(state: State, scope: Scope, statement: If) -> Returned | Poison | None:
    condition = fixed(state, scope, statement.condition, "the condition of a compile-time `if`")
    if condition is not POISON and not isinstance(condition, bool):
        message = f"a condition is true or false, but this is {shown(condition)}"
        state.report.error("E0530", message, statement.condition.span, "compare it with something")
        condition = POISON
    if condition is POISON:
        scope.poison(tuple(name for name, _ in bound_names((*statement.body, *statement.orelse))))
        return None
    taken, other = (statement.body, statement.orelse) if condition else (statement.orelse, statement.body)
    for name, place in bound_names(other):
        scope.missing.setdefault(
            name, (place, f"bound here only if `{statement.condition.span.text}` is {_not(condition)}")
        )
    return run(state, scope, taken)


def _not(condition: bool) -> str:
    return "false" if condition else "true"


def _return(state: State, scope: Scope, statement: Return) -> Returned | Poison:
    if scope.parent is not None or scope.owner == "forward":
        what = "a repeat" if scope.parent is not None else "`forward`"
        help = "bind the result to a name" if scope.parent is not None else "say what it is for: loss, metric or exit"
        state.report.error("E0521", f"{what} does not return", statement.span, help)
        return POISON
    refs: list[Ref] = []
    for value in statement.values:
        if len(statement.values) == 1 and isinstance(value, Call | Name):
            meaning = evaluate(state, scope, value)
            if isinstance(meaning, Several):
                return Returned(meaning.refs, (value.span,) * len(meaning.refs))
            found = meaning if isinstance(meaning, Ref) else None
            if found is None and meaning is not POISON:
                state.report.error("E0505", f"`return` needs a tensor, but this is {shown(meaning)}", value.span)
        else:
            found = tensor(state, scope, value, "`return`")
        if found is None:
            return POISON
        refs.append(found)
    return Returned(tuple(refs), tuple(value.span for value in statement.values))
