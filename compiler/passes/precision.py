"""The number format of every value, as autocast of PyTorch chooses it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...dsl.spec import Spec
from ..formats import LOW, STORED, WIDTH
from ..node import Node, Tensor
from ..ops import OPS
from ..plan import Plan

__all__ = ["FULL", "LOW", "STORED", "WIDTH", "precision"]

# As LOW: ops that autocast runs in fp32; the others take the widest type among their inputs.
FULL = frozenset({"softmax", "layer_norm", "group_norm", "exp", "log", "power", "route"})
LOOKED_UP = frozenset({"embedding", "parameter"})  # these give what their parameters hold


@dataclass(frozen=True)
class Formats:
    """Of products, and of parameters as they are used."""

    products: str
    parameters: str


Chosen = dict[tuple[str, str], tuple[str, ...]]


def precision(plan: Plan, spec: Spec) -> Plan:
    """Fills `Node.dtypes` of every body for the format of `precision.compute`.

    A body called with several formats keeps the widest of each value, which bounds its memory from above. Parameters
    that the data axis shards are gathered in the low precision, so what they are looked up in has it as well.
    """
    low = {"bf16": "bf16", "fp16": "fp16", "fp8": "bf16"}.get(spec.precision.compute, "fp32")
    chosen: Chosen = {}
    formats = Formats(low, low if plan.layout.shard != "none" else "fp32")
    _run(plan, "forward", (), formats, chosen)
    return plan.rewrite(lambda body, node: replace(node, dtypes=chosen[body, node.name]))


def _run(plan: Plan, body: str, arguments: tuple[str, ...], low: Formats, chosen: Chosen) -> tuple[str, ...]:
    """Formats of the body's results for these formats of its inputs."""
    given = iter(arguments)
    for node in plan.nodes(body):
        incoming = tuple(chosen[body, source][output] for source, output in node.inputs)
        if node.op == "input":
            dtypes: tuple[str, ...] = (next(given, STORED[node.outputs[0].kind]),)
        elif node.body:
            dtypes = _call(plan, node, incoming, low, chosen)
        else:
            dtypes = tuple(_produced(node, tensor, low, incoming) for tensor in node.outputs)
        known = chosen.get((body, node.name), dtypes)
        chosen[body, node.name] = tuple(_widest(pair) for pair in zip(known, dtypes, strict=True))
    return tuple(chosen[body, source][output] for source, output in plan.results[body])


def _call(plan: Plan, node: Node, incoming: tuple[str, ...], low: Formats, chosen: Chosen) -> tuple[str, ...]:
    assert node.body is not None
    results = _run(plan, node.body, incoming, low, chosen)
    if node.op == "repeat" and node.count > 1:
        carried = node.attrs["carried"]
        results = _run(plan, node.body, results[:carried] + incoming[carried:], low, chosen)
    return results


def _produced(node: Node, tensor: Tensor, low: Formats, incoming: tuple[str, ...]) -> str:
    if tensor.kind != "float":
        return STORED[tensor.kind]
    if node.op in LOW:
        return low.products
    if node.op in LOOKED_UP and node.parameters and node.parameters[0].shape:  # single numbers stay whole
        return low.parameters
    floats = tuple(dtype for dtype in incoming if dtype in ("fp32", "bf16", "fp16"))
    full = node.op in FULL or (node.op in OPS and OPS[node.op].category != "value")  # losses and metrics are fp32
    return "fp32" if full or not floats else _widest(floats)


def _widest(dtypes: tuple[str, ...]) -> str:
    return max(dtypes, key=lambda dtype: WIDTH[dtype])
