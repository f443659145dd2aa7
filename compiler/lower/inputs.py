"""Inputs of the model: what the data source supplies, and which of them are targets."""

from __future__ import annotations

from typing import Final

from ...dsl.ast import Param, ScalarType, TensorType
from ...dsl.diagnostics import Label
from ...dsl.schema.data import Images, ImageText
from ...dsl.spec import Spec
from ...dsl.suggest import nearest
from ..dims import substitute, symbol, symbols
from ..node import Body, Node, Objective, Tensor, Value
from ..ops import OPS
from .scope import Scope
from .signatures import KINDS, declared_sizes, is_symbol
from .state import State

B, S = symbol("B"), symbol("S")
TOKENS: Final = {"tokens": Tensor((B, S), "int"), "targets": Tensor((B, S), "int")}
DIGITS: Final = {"images": Tensor((B, 1, 8, 8)), "labels": Tensor((B,), "int")}


def fields(spec: Spec) -> dict[str, Tensor] | None:
    """What each sample of the data source holds, by name; None where the model decides (`random()`, own classes)."""
    source = spec.data.source
    if source.kind in ("text", "jsonl", "parquet", "tokens", "datasets"):
        return TOKENS
    if source.kind == "digits":
        return DIGITS
    if isinstance(source, Images):
        return {"images": Tensor((B, 3, source.size, source.size)), "labels": Tensor((B,), "int")}
    if isinstance(source, ImageText):
        return {"images": Tensor((B, 3, source.size, source.size)), "tokens": Tensor((B, S), "int")}
    return None


def sizes(spec: Spec) -> dict[str, int]:
    """Numbers of the symbolic sizes: B samples per micro-batch, S tokens per sample."""
    known = {"B": spec.training.micro_batch_size}
    return known if spec.data.sequence is None else known | {"S": spec.data.sequence}


def classes(spec: Spec, tensor: Tensor) -> int:
    """How many different whole numbers an input may hold: those of tokens, or of classes where each sample has one."""
    one = len(tensor.shape) == 1
    found = (spec.data.classes or spec.data.vocab) if one else (spec.data.vocab or spec.data.classes)
    return found or 2


def add_inputs(state: State, scope: Scope) -> None:
    """Inputs of `forward` with the types that the data source gives them."""
    supplied = fields(state.spec)
    for param in state.spec.forward.params:
        if isinstance(param.type, ScalarType):
            message = f"`{param.name}` of `forward` is not a tensor: values of a model are its settings"
            help = f"write it in `model`: {param.name}: ..."
            state.report.error("E0528", message, param.span, help)
            scope.poison((param.name,))
            continue
        actual = _declared(state, scope, param) if supplied is None else supplied.get(param.name)
        if actual is None and supplied is not None:
            _not_supplied(state, param, supplied)
        if actual is None or (supplied is not None and not _fits(state, scope, param, param.type, actual)):
            scope.poison((param.name,))
        else:
            scope.names[param.name] = scope.input(param.name, actual, param.span)


def _declared(state: State, scope: Scope, param: Param) -> Tensor | None:
    declared = param.type
    assert isinstance(declared, TensorType)
    if not declared.dims or declared.dims[0].span.text != "B":
        message = f"the first size of `{param.name}` is not `B`: an input of `forward` holds a batch of samples"
        state.report.error("E0528", message, param.span, f"declare it {param.name}: [B, ...]")
        return None
    for dim in declared.dims:
        if is_symbol(dim) and not scope.binds(dim.span.text) and dim.span.text not in scope.visible.constants:
            scope.names[dim.span.text] = symbol(dim.span.text)
    found = declared_sizes(state, scope, declared, None)
    return Tensor(found, KINDS[declared.kind]) if found is not None else None


def _not_supplied(state: State, param: Param, supplied: dict[str, Tensor]) -> None:
    kind = state.spec.data.source.kind
    listed = ", ".join(f"{name}: {tensor}" for name, tensor in supplied.items())
    close = nearest(param.name, supplied)
    help = f"a field with a similar name exists: `{close}`" if close else f"its fields: {listed}"
    message = f"the data source `{kind}` has no field `{param.name}`"
    state.report.error("E0528", message, param.span, help, _source_label(state, f"its fields: {listed}"))


def _source_label(state: State, message: str) -> tuple[Label, ...]:
    span = state.spec.span("data.source")
    return (Label(span, message),) if span is not None else ()


def _fits(state: State, scope: Scope, param: Param, declared: TensorType, actual: Tensor) -> bool:
    before = state.report.errors
    found = None
    if declared.kind == actual.kind and len(declared.dims) == len(actual.shape):
        found = declared_sizes(state, scope, declared, actual)
        if found == actual.shape or state.report.errors > before:
            return found == actual.shape
    message = f"`{param.name}` is declared {declared.span.text}, but the data source gives {actual}"
    help = f"declare it {param.name}: {actual}"
    state.report.error("E0528", message, param.span, help, _source_label(state, "the data source"))
    return False


def check_sizes(state: State, nodes: tuple[Node, ...]) -> None:
    """Every symbolic size of the inputs has a number in this run."""
    known = sizes(state.spec)
    told: set[str] = set()
    for node in nodes:
        if node.op != "input":
            continue
        for name in sorted(symbols(substitute(node.outputs[0].elements, known)) - told):
            told.add(name)
            if name == "S":
                message, help = "the size `S` has no number", "say how many tokens a sample has: data { sequence: 256 }"
            else:
                message = f"the size `{name}` of `{node.name}` has no number"
                help = "B and S follow from the settings; give any other size as a number"
            state.report.error("E0529", message, node.span, help)


def prediction(body: Body, first: Objective) -> Value:
    """What the first loss compares with the targets: the first input of the loss that the value comes from."""
    nodes = {node.name: node for node in body.nodes}
    value = first.value
    while True:
        node = nodes[value[0]]
        if not node.inputs:
            return value
        value = node.inputs[0]
        if node.op != "collective" and (node.op not in OPS or OPS[node.op].category == "loss"):
            return value


def targets(body: Body, value: Value) -> tuple[str, ...]:
    """The inputs that a value does not depend on."""
    nodes = {node.name: node for node in body.nodes}
    needed: set[str] = set()
    waiting = [value[0]]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [source for source, _ in nodes[name].inputs]
    return tuple(node.name for node in body.nodes if node.op == "input" and node.name not in needed)
