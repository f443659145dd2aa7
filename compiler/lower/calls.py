"""Calls of ops, blocks and extern ops: arguments are matched with what they fill, then a node is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ...dsl.ast import Call, Expr, Extern
from ...dsl.source import Span
from ...dsl.spec import Definition
from ..node import Node
from ..ops import OPS
from ..ops.base import REQUIRED, Attribute, Op, ShapeError
from .attributes import WORDS, fits
from .matching import Given, Signature, match
from .ownership import Claim, Owner, claim
from .report import Frame
from .scope import Scope
from .signatures import Bound, bind, extern_target, of_block, result_types
from .values import POISON, Function, Meaning, Ref, Several, shown

if TYPE_CHECKING:
    from .state import State


def words(function: Function) -> frozenset[str]:
    """The attributes that take a bare word (`init: zeros`)."""
    if not isinstance(function.record, Op):
        return frozenset()
    return frozenset(attribute.name for attribute in function.record.attributes if attribute.type == "name")


def apply(
    state: State, scope: Scope, call: Call, function: Function, given: Sequence[Given], hint: str | None
) -> Meaning:
    """The results of a call with evaluated arguments."""
    record = function.record
    signature = _of_op(record.name) if isinstance(record, Op) else of_block(record)
    matched = match(state, call, signature, given)
    if matched is None or any(one.meaning is POISON for one in given):
        return POISON
    if isinstance(record, Op):
        return _op(state, scope, call, record, matched, hint)
    return _block(state, scope, call, function, matched, hint)


@cache
def _of_op(name: str) -> Signature:
    op = OPS[name]
    tensors = tuple(name.strip("*?") for name in op.tensors)
    values = tuple(attribute.name for attribute in op.attributes if not attribute.name.startswith("*"))
    required = {name for name in op.tensors if not name.endswith("?")}
    required |= {n for n, a in _kinds(name).items() if a.default is REQUIRED}
    variadic = bool(op.tensors) and op.tensors[-1].startswith("*")
    sizes = len(values) < len(op.attributes)
    return Signature(tensors, values, frozenset(name.strip("*") for name in required), variadic, sizes)


@cache
def _kinds(name: str) -> Mapping[str, Attribute]:
    """The attributes of an op, without the one that stands for any further name."""
    op = OPS[name]
    return {attribute.name: attribute for attribute in op.attributes if not attribute.name.startswith("*")}


def _op(
    state: State, scope: Scope, call: Call, op: Op, matched: Mapping[str, list[Given]], hint: str | None
) -> Meaning:
    tensors: dict[str, Any] = {}
    attrs: dict[str, Any] = {}
    slots = {name.strip("*?"): name for name in op.tensors}
    kinds = _kinds(op.name)
    further = Attribute("", "int", "a size of the pattern")
    for name, given in sorted(matched.items(), key=lambda item: [*slots, *matched].index(item[0])):
        refs = [one.meaning for one in given if isinstance(one.meaning, Ref)]
        if name in slots and len(refs) == len(given):
            tensors[name] = tuple(refs) if slots[name].startswith("*") else refs[0]
        elif name in slots and name not in kinds:
            return _not_a_tensor(state, call, name, given)
        elif _typed(state, call, kinds.get(name, further), name, given[0]):
            attrs[name] = _attribute(kinds.get(name, further), given[0].meaning)
        else:
            return POISON
    places = {name: given[0].argument.value for name, given in matched.items()}
    return run_op(state, scope, op, tensors, attrs, call.span, hint, places, call)


def _attribute(attribute: Attribute, value: Meaning) -> Meaning:
    """The value as ops read it: a single size is a list of one, the word `none` is a text."""
    if attribute.type == "ints" and not isinstance(value, tuple):
        return (value,)
    return "none" if attribute.type == "name" and value is None else value


def _typed(state: State, call: Call, attribute: Attribute, name: str, given: Given) -> bool:
    value = given.meaning
    word = attribute.type == "name" and isinstance(attribute.default, str)
    if fits(attribute.type, value) or (value is None and (attribute.default is None or word)):
        return True
    message = f"`{name}` of `{call.function.text}` must be {WORDS[attribute.type]}, but this is {shown(value)}"
    state.report.error("E0511", message, given.argument.value.span, attribute.doc, culprit=given.argument.value)
    return False


def _not_a_tensor(state: State, call: Call, name: str, given: Sequence[Given]) -> Meaning:
    wrong = next(one for one in given if not isinstance(one.meaning, Ref))
    span = wrong.argument.value.span
    if isinstance(wrong.meaning, Several):
        message = f"`{name}` of `{call.function.text}` is one tensor, but this call gives {shown(wrong.meaning)}"
        state.report.error("E0522", message, span, "unpack them first: (a, b) = ...")
        return POISON
    message = f"`{name}` of `{call.function.text}` is a tensor, but this is {shown(wrong.meaning)}"
    state.report.error("E0505", message, span, culprit=wrong.argument.value)
    return POISON


def run_op(
    state: State,
    scope: Scope,
    op: Op,
    tensors: Mapping[str, Any],
    attrs: Mapping[str, Any],
    span: Span,
    hint: str | None,
    places: Mapping[str, Expr],
    call: Call | None = None,
) -> Meaning:
    """Adds the node of an op; `places` are the expressions of its arguments."""
    full = {name: attribute.default for name, attribute in _kinds(op.name).items()} | dict(attrs)
    types = {name: _types(value) for name, value in tensors.items()}
    try:
        inferred = op.infer(types, full)
    except ShapeError as error:
        culprit = places.get(error.argument or "")
        at = culprit.span if culprit is not None else call.function.span if call is not None else span
        state.report.error("E0510", f"`{op.name}`: {error.message}", at, error.help, culprit=culprit)
        return POISON
    refs, args = _flatten(tensors)
    owner = Owner(op.name, full, None, inferred.parameters, bool(inferred.parameters))
    claimed = claim(state, scope, call, owner) if call is not None else Claim()
    if claimed is None:
        return POISON
    name = hint or (call.label if call is not None else None) or op.name
    node = scope.add(
        name,
        op.name,
        tuple(ref.value for ref in refs),
        inferred.outputs,
        span,
        attrs=full,
        args=args,
        parameters=inferred.parameters,
        label=claimed.label,
        share=claimed.share,
    )
    return results(node)


def results(node: Node) -> Meaning:
    """The outputs of a node: a tensor, or several."""
    refs = tuple(Ref((node.name, index), tensor) for index, tensor in enumerate(node.outputs))
    return refs[0] if len(refs) == 1 else Several(refs)


def _types(value: Any) -> Any:
    return tuple(ref.tensor for ref in value) if isinstance(value, tuple) else value.tensor


def _flatten(tensors: Mapping[str, Any]) -> tuple[tuple[Ref, ...], tuple[str, ...]]:
    pairs = [
        (ref, name) for name, value in tensors.items() for ref in (value if isinstance(value, tuple) else (value,))
    ]
    return tuple(ref for ref, _ in pairs), tuple(name for _, name in pairs)


def _block(
    state: State, scope: Scope, call: Call, function: Function, matched: Mapping[str, list[Given]], hint: str | None
) -> Meaning:
    arguments = {name: given[0].argument for name, given in matched.items()}
    meanings = {name: given[0].meaning for name, given in matched.items()}
    bound = bind(state, call, function, meanings, arguments)
    if bound is None:
        return POISON
    if isinstance(function.record, Extern):
        return _extern(state, scope, call, function, bound, hint)
    assert isinstance(function.record, Definition)
    with state.report.inside(Frame(function.name, call.function.span, arguments)):
        instance = state.lower_block(state, function.record, bound, call)
    if instance.body is None:
        return POISON
    settled = claim(state, scope, call, Owner(function.name, None, instance.body.name, owns=instance.owns))
    if settled is None:
        return POISON
    node = scope.add(
        hint or call.label or function.name,
        "call",
        tuple(ref.value for ref in bound.tensors.values()),
        instance.results,
        call.span,
        args=tuple(bound.tensors),
        label=settled.label,
        share=settled.share,
        body=instance.body.name,
    )
    return results(node)


def _extern(state: State, scope: Scope, call: Call, function: Function, bound: Bound, hint: str | None) -> Meaning:
    """A user's own module: its shapes are those of its declared signature."""
    extern = function.record
    assert isinstance(extern, Extern)
    target = extern_target(state, extern)
    outputs = result_types(state, bound, extern)
    settled = claim(state, scope, call, Owner(function.name, dict(bound.scalars), None, owns=True))
    if target is None or outputs is None or settled is None:
        return POISON
    node = scope.add(
        hint or call.label or function.name,
        "extern",
        tuple(ref.value for ref in bound.tensors.values()),
        outputs,
        call.span,
        attrs={"name": function.name, "path": target[0], "class": target[1], "arguments": dict(bound.scalars)},
        args=tuple(bound.tensors),
        label=settled.label,
        share=settled.share,
    )
    return results(node)
