"""Advice on what the model states and never uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...dsl.ast import (
    Binary,
    Binding,
    Block,
    Call,
    Expr,
    If,
    Let,
    Name,
    Objective,
    Repeat,
    Return,
    Statement,
    TensorType,
    Unary,
)
from ...dsl.ast import Sequence as Items
from ...dsl.diagnostics import Sink
from ...dsl.spec import Spec
from .binding import bound_names
from .report import in_library


def warn_unused(spec: Spec, sink: Sink) -> None:
    """Warnings for bindings, parameters and blocks that nothing reads."""
    blocks = [d.block for d in spec.scope.blocks.values() if not in_library(d.block.span)]
    own = [block for block in blocks if block.span.source is spec.source]
    for block in (spec.forward, *own):
        _in_block(block, sink)
    read = {name for block in (spec.forward, *blocks) for name in _read_in(block)}
    for block in own:
        if block.name not in read:
            message = f"nothing calls the block `{block.name}`"
            sink.warning("W0913", message, block.name_span, "call it, or remove it")


def _in_block(block: Block, sink: Sink) -> None:
    read = set(_read_in(block))
    for param in block.params:
        if param.name not in read and not param.name.startswith("_"):
            what = f"input `{param.name}`" if block.name == "forward" else f"parameter `{param.name}` of `{block.name}`"
            sink.warning("W0912", f"nothing uses the {what}", param.span, "use it, or remove it")
    for name, span in bound_names(block.body, repeats=True):
        if name not in read and not name.startswith("_"):
            help = "use it, remove it, or call it `_`"
            sink.warning("W0911", f"nothing uses `{name}`", span, help)


def _read_in(block: Block) -> Iterator[str]:
    """Names that a block reads; a name bound to itself (`x = f(x)`) counts where something else reads it too."""
    for param in block.params:
        if isinstance(param.type, TensorType):
            yield from _names(param.type.dims)
        if param.default is not None:
            yield from _names((param.default,))
    for result in block.results:
        yield from _names(result.dims)
    yield from _read(block.body)


def _read(body: Sequence[Statement]) -> Iterator[str]:
    for statement in body:
        match statement:
            case Binding() | Let():
                yield from _names((statement.value,))
            case Objective():
                yield from _names((statement.value, *(option.value for option in statement.options)))
            case Return():
                yield from _names(statement.values)
            case Repeat():
                yield from _names((statement.count,))
                yield from _read(statement.body)
            case If():
                yield from _names((statement.condition,))
                yield from _read((*statement.body, *statement.orelse))
            case _:
                pass


def _names(expressions: Iterable[Expr]) -> Iterator[str]:
    waiting = list(expressions)
    while waiting:
        expression = waiting.pop()
        match expression:
            case Name():
                yield expression.text
                yield expression.path[0]
            case Call():
                yield expression.function.text
                waiting += [argument.value for argument in expression.arguments]
            case Binary():
                waiting += [expression.left, expression.right]
            case Unary():
                waiting.append(expression.operand)
            case Items():
                waiting += expression.items
            case _:
                pass
