"""Nodes of a plan that are no ops: collectives, and the user's own modules."""

from __future__ import annotations

from collections.abc import Sequence

from ..node import Node
from ..passes.precision import STORED
from ..placement import CONVERSIONS
from .player import Player
from .tape import Fake

PASSES = frozenset({"copy"})
"""Functions of `runtime.collectives` that give the tensor itself."""
HANDS_BACK = frozenset({"all_reduce"})
"""Those whose backward does."""
JOINED = frozenset({"all_gather", "all_gather_both", "reduce_scatter"})
"""Those that put blocks of another dimension than the first together in a tensor of their own before or after."""


def beside(player: Player, node: Node, xs: Sequence[Fake]) -> list[Fake]:
    """Results of a collective, or of a user's own module, of which only operands and results are known."""
    player.ledger.doing = f"forward of {node.label or node.op}"
    if node.op == "collective":
        return [_collective(player, node, xs[0])]
    results = []
    for tensor, dtype in zip(node.outputs, node.dtypes or [STORED[t.kind] for t in node.outputs], strict=True):
        results.append(player.made(player.number(tensor.elements), dtype))
    player.tape.record(node.op, list(xs), results, [x.storage for x in xs])
    return results


def _collective(player: Player, node: Node, x: Fake) -> Fake:
    """Nothing is saved; in both directions blocks are joined in a buffer that goes at once."""
    if node.dtypes:
        x = player.cast(x, node.dtypes[0])
    source, target = node.attrs["source"], node.attrs["target"]
    name = CONVERSIONS[source.kind, target.kind].name
    if name in PASSES:
        player.scope.append(player.ledger.hold(x.storage))
        result = Fake(x.storage, x.count, x.dtype, x.order)
        player.tape.record(name, (x,), (result,), ())
        return result
    count = player.number(node.outputs[0].elements)
    result = player.made(count, x.dtype)
    inner = name in JOINED and (source.dim or target.dim or 0) > 0
    player.ledger.burst(max(x.size, result.size) if inner else 0, "communication")
    work = max(x.size, result.size) if inner else 0
    player.tape.record(name, (x,), (result,), (), alias=name in HANDS_BACK, workspace=work)
    return result
