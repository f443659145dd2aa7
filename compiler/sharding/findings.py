"""What the search tells about the spec: sizes that do not divide, axes that split nothing, settings without effect."""

from __future__ import annotations

from collections.abc import Iterator

from ...dsl.diagnostics import Diagnostic, Label
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..dims import Dim, symbols
from ..node import Node, Tensor
from ..ops import OPS
from ..plan import Plan
from ..refused import Refused
from .places import Code
from .search import Search, Solved
from .walk import Use, uses_of


def refuse_unsplit(search: Search, spec: Spec) -> None:
    """Refuses a layout of the tensor axis that leaves work whole which would be split if sizes divided; or all work."""
    used = list(uses_of(search))
    heavy = [use for use in used if _heavy(search, use)]
    left = [use for use in heavy if not _split(use.solved)]
    if heavy and not left:
        return
    ideal = Search(search.plan, search.axis, search.size, search.sequence, 1, search.rates)
    wished = list(uses_of(ideal))
    could = {(use.body, use.node.name) for use in wished if _heavy(ideal, use) and _split(use.solved)}
    missed = [use for use in left if (use.body, use.node.name) in could]
    if missed:
        raise Refused(_does_not_divide(search, spec, missed[0], wished))
    if len(left) == len(heavy):
        raise Refused(_splits_nothing(search, spec, len(heavy)))


def _heavy(search: Search, use: Use) -> bool:
    """Whether a node is worth splitting: it has a matrix, or multiplies some."""
    node = use.node
    if any(p.trained and len(p.shape) > 1 for p in node.parameters):
        return True
    return node.op in OPS and OPS[node.op].flops(node, search.rules.inputs(use.body, node)) != 0


def _split(solved: Solved) -> bool:
    choice = solved.choice
    return choice is not None and any(c[0] == "S" for c in (*choice.inputs, *choice.parameters, *choice.outputs))


def _does_not_divide(search: Search, spec: Spec, left: Use, wished: list[Use]) -> Diagnostic:
    """Names the size, at the first node which the best layout would split there."""
    size = search.size
    tried = [use for use in wished if use.body == left.body]
    use, dim = next((use, dim) for use in (left, *tried) for dim in _torn(search, use, tried))
    node, place = use.node, _place(spec, "parallel.tensor_model_parallel")
    message = f"{dim} does not divide by `tensor_model_parallel` {size}: `{node.name}` cannot be split"
    tensors = [str(tensor) for tensor in search.rules.inputs(use.body, node)] or ["nothing"]
    labels = (Label(node.span, f"makes {node.outputs[0]} of {', '.join(tensors)}"),)
    return Diagnostic("E0411", message, place, _nearest(dim, size), labels=labels)


def _torn(search: Search, use: Use, wished: list[Use]) -> Iterator[int]:
    """Sizes of a node that the best layout would split, and that do not divide."""
    best = next((w for w in wished if w.node.name == use.node.name), None)
    if best is None or best.solved.choice is None:
        return
    row, rules = best.solved.choice, search.rules
    tensors = (*rules.inputs(use.body, use.node), *(Tensor(p.shape) for p in use.node.parameters), *use.node.outputs)
    codes = (*row.inputs, *row.parameters, *row.outputs)
    for dim in _cut(tensors, codes):
        if isinstance(dim, int) and dim % search.size:
            yield dim
    rule = OPS[use.node.op].sharding if use.node.op in OPS else None
    if rule is not None:
        sizes = rule(use.node, rules.inputs(use.body, use.node)).sizes.values()
        yield from (dim for dim in sizes if isinstance(dim, int) and dim % search.size)


def _cut(tensors: tuple[Tensor, ...], codes: tuple[Code, ...]) -> Iterator[Dim]:
    for tensor, code in zip(tensors, codes, strict=True):
        if code[0] == "S":
            yield tensor.shape[int(code[1:])]


def _nearest(dim: int, size: int) -> str:
    """The nearest number of ranks that divides, and the nearest size that the ranks divide."""
    ranks = max(n for n in range(1, size + 1) if dim % n == 0 and size % n == 0)
    up = -(-dim // size) * size
    sizes = f"{up}" if dim < size else f"{up - size} or {up}"
    return f"set `tensor_model_parallel` to {ranks}, or the size to {sizes}"


def _splits_nothing(search: Search, spec: Spec, count: int) -> Diagnostic:
    message = (
        f"`tensor_model_parallel: {search.size}` splits none of the {count} matrices and products of "
        f"`{search.plan.name}`: every rank would compute the same"
    )
    help = "set it to 1, and `data_parallel` to the number of ranks"
    return Diagnostic("E0412", message, _place(spec, "parallel.tensor_model_parallel"), help)


def refuse_torn_sequence(plan: Plan, spec: Spec) -> None:
    """Refuses sequence parallelism where the ranks do not divide the sequence."""
    length, size = plan.sizes.get("S"), plan.layout.tensor
    if plan.layout.sequence_parallel and size > 1 and length is not None and length % size:
        message = f"the sequence of {length} does not divide by `tensor_model_parallel` {size}"
        up = -(-length // size) * size
        help = f"set `sequence` to {up}, or `sequence_parallel: false`"
        raise Refused(Diagnostic("E0411", message, _place(spec, "parallel.sequence_parallel"), help))


def unused_sequence(plan: Plan, spec: Spec) -> Iterator[Diagnostic]:
    """A warning where sequence parallelism was asked for and no value of the plan is split along the sequence."""
    if not plan.layout.sequence_parallel or plan.layout.tensor == 1:
        return
    nodes = [node for body in plan.graphs for node in plan.nodes(body)]
    if any(_along_sequence(node) for node in nodes):
        return
    values = sum(len(node.outputs) for node in nodes)
    with_sequence = sum("S" in symbols(dim) for node in nodes for tensor in node.outputs for dim in tensor.shape)
    message = (
        f"`sequence_parallel` changes nothing: of {values} values, {with_sequence} have a sequence `S`, and none is "
        f"split along it over the {plan.layout.tensor} ranks"
    )
    help = "remove it; it splits what lies between matrices along dimension `S` of [B, S, features]"
    yield Diagnostic("W0915", message, _place(spec, "parallel.sequence_parallel"), help, "warning")


def _along_sequence(node: Node) -> bool:
    for tensor, placement in zip(node.outputs, node.placements, strict=True):
        place = placement["tensor"]
        if place.dim is not None and any("S" in name for name in symbols(tensor.shape[place.dim])):
            return True
    return False


def refuse_impossible(search: Search, spec: Spec) -> None:
    """Refuses a model that no rows and conversions bring from the inputs' types to those of the losses."""
    if search.problem("forward").minimum.costs:
        return
    names = ", ".join(f"`{o.name}`" for o in search.plan.objectives if o.kind == "loss")
    setting = "data_parallel" if search.axis == "data" else "tensor_model_parallel"
    message = f"there is no way to compute {names} on {search.size} ranks of the {search.axis} axis"
    help = "on the data axis a loss has to depend on the samples" if search.axis == "data" else "set it to 1"
    objective = next(o for o in search.plan.objectives if o.kind == "loss")
    labels = (Label(objective.span, "this loss"),)
    raise Refused(Diagnostic("E0413", message, _place(spec, f"parallel.{setting}"), help, labels=labels))


def _place(spec: Spec, path: str) -> Span:
    return spec.span(path) or spec.span("parallel") or Span(spec.source, 0, 0)
