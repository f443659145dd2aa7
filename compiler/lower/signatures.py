"""Signatures of blocks and extern ops: shape types are unified with the actual tensors, values get their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...dsl.ast import Argument, Block, Call, Expr, Extern, Literal, Name, Param, ScalarType, TensorType
from ...dsl.diagnostics import Label
from ...dsl.source import Span
from ...dsl.spec import Definition
from ..dims import Dim
from ..node import Kind, Tensor
from .attributes import WORDS, fits
from .matching import Signature
from .report import Frame
from .scope import Scope
from .values import POISON, Function, Meaning, Ref, Several, is_size, shown

if TYPE_CHECKING:
    from .state import State

KINDS: dict[str, Kind] = {"float": "float", "int": "int", "bool": "bool"}


@dataclass(frozen=True)
class Bound:
    """Arguments in the order of the parameters; `scope` has the values, and the sizes that the shapes bound."""

    scope: Scope
    tensors: dict[str, Ref]
    scalars: dict[str, Meaning]


def of_block(record: Definition | Extern) -> Signature:
    """What a call of the block can pass: tensors and then values, by position or name."""
    params = record.params if isinstance(record, Extern) else record.block.params
    tensors = tuple(param.name for param in params if isinstance(param.type, TensorType))
    named = tuple(param.name for param in params if not isinstance(param.type, TensorType))
    return Signature(tensors, named, frozenset(param.name for param in params if param.default is None))


def bind(
    state: State, call: Call, function: Function, given: Mapping[str, Meaning], places: Mapping[str, Argument]
) -> Bound | None:
    """Parameters with their arguments; None after an error."""
    record = function.record
    assert isinstance(record, Definition | Extern)
    block = record if isinstance(record, Extern) else record.block
    scope = Scope(block.name, function.visible)
    before = state.report.errors
    tensors = _tensors(state, scope, call, block, given, places)
    if state.report.errors > before:
        return None
    scalars = _scalars(state, scope, call, block, given, places)
    if state.report.errors > before or any(value is POISON for value in scalars.values()):
        return None
    for param in block.params:
        if param.name in tensors and isinstance(param.type, TensorType):
            place = places[param.name].value
            _check_sizes(state, scope, param, param.type, tensors[param.name].tensor, place, function.name)
    return Bound(scope, tensors, scalars) if state.report.errors == before else None


def _tensors(
    state: State,
    scope: Scope,
    call: Call,
    block: Block | Extern,
    given: Mapping[str, Meaning],
    places: Mapping[str, Argument],
) -> dict[str, Ref]:
    """Tensor arguments; capital names of their shapes that nothing else binds are bound in the scope."""
    found: dict[str, Ref] = {}
    values = {param.name for param in block.params if isinstance(param.type, ScalarType)}
    for param in block.params:
        if not isinstance(param.type, TensorType):
            continue
        meaning = given.get(param.name)
        if isinstance(meaning, Ref):
            if _fitting(state, block, param, param.type, meaning.tensor, places[param.name].value):
                found[param.name] = meaning
                _bind_sizes(scope, param.type, meaning.tensor, values)
        elif meaning is None and isinstance(param.default, Literal) and param.default.value is None:
            scope.names[param.name] = None
        else:
            _not_a_tensor(state, call, param, meaning, places)
    return found


def _not_a_tensor(state: State, call: Call, param: Param, meaning: Meaning, places: Mapping[str, Argument]) -> None:
    what = f"`{param.name}` of `{call.function.text}` is a tensor"
    if param.name not in places:
        message, help = f"{what}, and only `none` can be its default", "remove the default"
        state.report.error("E0505", message, param.span, help)
    elif isinstance(meaning, Several):
        message, help = f"{what}, but this call gives {shown(meaning)}", "unpack them first: (a, b) = ..."
        state.report.error("E0522", message, places[param.name].value.span, help)
    else:
        place = places[param.name].value
        state.report.error("E0505", f"{what}, but this is {shown(meaning)}", place.span, culprit=place)


def _fitting(
    state: State, block: Block | Extern, param: Param, declared: TensorType, actual: Tensor, place: Expr
) -> bool:
    rank = len(declared.dims)
    fault = None
    if declared.kind != actual.kind:
        fault = f"holds {actual.kind} values, not {declared.kind}"
    elif rank != len(actual.shape):
        fault = f"has {len(actual.shape)} dimensions, not {rank}"
    if fault is not None:
        message = f"`{param.name}` of `{block.name}` is {_text(declared)}, but this tensor {actual} {fault}"
        labels = (Label(param.span, "declared here"),)
        state.report.error("E0503", message, place.span, labels=labels, culprit=place)
    return fault is None


def is_symbol(dim: Expr) -> bool:
    """Whether a dimension is a capital name, which the actual size can bind."""
    return isinstance(dim, Name) and len(dim.path) == 1 and dim.text[0].isupper()


def _bind_sizes(scope: Scope, declared: TensorType, actual: Tensor, values: set[str]) -> None:
    for dim, size in zip(declared.dims, actual.shape, strict=True):
        if is_symbol(dim) and dim.span.text not in values and not _bound(scope, dim.span.text):
            scope.names[dim.span.text] = size


def _scalars(
    state: State,
    scope: Scope,
    call: Call,
    block: Block | Extern,
    given: Mapping[str, Meaning],
    places: Mapping[str, Argument],
) -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}
    for param in block.params:
        if not isinstance(param.type, ScalarType):
            continue
        if param.name in given:
            value = given[param.name]
            place = places[param.name].value
        else:
            assert param.default is not None
            place = param.default
            with state.report.inside(Frame(block.name, call.function.span, places)):
                value = state.evaluate(state, scope, param.default)
        if value is not POISON and not _typed(state, block, param, param.type, value, place):
            value = POISON
        found[param.name] = scope.names[param.name] = value
    return found


def _typed(state: State, block: Block | Extern, param: Param, kind: ScalarType, value: Meaning, place: Expr) -> bool:
    optional = isinstance(param.default, Literal) and param.default.value is None
    if fits(kind.kind, value) or (value is None and optional):
        return True
    message = f"`{param.name}` of `{block.name}` must be {WORDS[kind.kind]}, but this is {shown(value)}"
    labels = (Label(param.span, "declared here"),)
    state.report.error("E0511", message, place.span, labels=labels, culprit=place)
    return False


def _check_sizes(
    state: State, scope: Scope, param: Param, declared: TensorType, actual: Tensor, place: Expr, name: str
) -> None:
    sizes = declared_sizes(state, scope, declared, actual)
    if sizes is not None and sizes != actual.shape:
        message = (
            f"`{param.name}` of `{name}` is {_text(declared)} = {Tensor(sizes, actual.kind)}, but this is {actual}"
        )
        labels = (Label(param.span, _differences(declared, sizes, actual)),)
        state.report.error("E0503", message, place.span, labels=labels, culprit=place)


def _differences(declared: TensorType, sizes: tuple[Dim, ...], actual: Tensor) -> str:
    """`dim is 256 here, but 512 is passed`."""
    pairs = zip(declared.dims, sizes, actual.shape, strict=True)
    return ", ".join(f"`{dim.span.text}` is {size} here, but gets {got}" for dim, size, got in pairs if size != got)


def declared_sizes(state: State, scope: Scope, declared: TensorType, actual: Tensor | None) -> tuple[Dim, ...] | None:
    """The declared shape in numbers; a capital name without a value takes the actual size. None after an error."""
    sizes: list[Dim] = []
    for index, dim in enumerate(declared.dims):
        unbound = isinstance(dim, Name) and is_symbol(dim) and not _bound(scope, dim.text)
        if unbound and actual is not None and isinstance(dim, Name):
            scope.names[dim.text] = actual.shape[index]
        size = state.evaluate(state, scope, dim)
        if size is POISON:
            return None
        if not is_size(size):
            message = f"a size is a whole number, but this is {shown(size)}"
            whole = "write `//`, the division without a remainder" if isinstance(size, float) else None
            state.report.error("E0505", message, dim.span, whole)
            return None
        sizes.append(size)
    return tuple(sizes)


def _bound(scope: Scope, name: str) -> bool:
    return scope.binds(name) or name in scope.visible.constants


def result_types(state: State, bound: Bound, extern: Extern) -> tuple[Tensor, ...] | None:
    """The declared results of an extern op in numbers."""
    found = []
    for declared in extern.results:
        sizes = declared_sizes(state, bound.scope, declared, None)
        if sizes is None:
            return None
        found.append(Tensor(sizes, KINDS[declared.kind]))
    return tuple(found)


def extern_target(state: State, extern: Extern) -> tuple[str, str] | None:
    """File and class of `"file.py:Class"`."""
    path, _, name = extern.target.rpartition(":")
    if path.endswith(".py") and name.isidentifier():
        return path, name
    message = f'"{extern.target}" does not name a class in a Python file'
    state.report.error("E0535", message, extern.span, 'write it as "file.py:Class"')
    return None


def check_results(state: State, scope: Scope, block: Block, results: tuple[Ref, ...], places: tuple[Span, ...]) -> None:
    """Compares what a block returns with what it declares."""
    if not block.results:
        return
    if len(block.results) != len(results):
        message = f"`{block.name}` declares {len(block.results)} results, but returns {len(results)}"
        labels = (Label(block.results[0].span.to(block.results[-1].span), "declared here"),)
        state.report.error("E0504", message, places[0], labels=labels)
        return
    for declared, ref, place in zip(block.results, results, places, strict=True):
        fits_rank = len(declared.dims) == len(ref.tensor.shape) and declared.kind == ref.tensor.kind
        sizes = declared_sizes(state, scope, declared, ref.tensor) if fits_rank else None
        if sizes == ref.tensor.shape or (fits_rank and sizes is None):
            continue
        shown_sizes = f" = {Tensor(sizes, ref.tensor.kind)}" if sizes is not None else ""
        message = f"`{block.name}` declares the result {_text(declared)}{shown_sizes}, but returns {ref.tensor}"
        state.report.error("E0504", message, place, labels=(Label(declared.span, "declared here"),))


def _text(declared: TensorType) -> str:
    return " ".join(declared.span.text.split())
