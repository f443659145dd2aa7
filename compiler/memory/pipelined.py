"""Stages of a pipeline: each is played once, and its changes are put together in the order of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ...dsl.spec import Spec
from ..pipeline.schedule import order
from ..plan import Plan, Stage
from .ledger import Amounts, Ledger
from .runner import Runner
from .tape import Tape


@dataclass(frozen=True)
class Change:
    """What one op of the schedule leaves, and the most that it held in between, by kind and from where it began."""

    left: Amounts
    most: Amounts
    moment: str


Key = tuple[str, bool]
"""Forward or backward; whether it is the first, which makes the gradients of parameters."""
Known = dict[str, dict[Key, Change]]


def play_schedule(plan: Plan, spec: Spec, runner: Runner, stages: Sequence[Stage], known: Known) -> None:
    """Peak of one rank of the pipeline; its stages hold one set of activations for each micro-batch in flight.

    `known` are the changes of bodies that other ranks run as well.
    """
    micro = spec.training.gradient_accumulation
    ledger = runner.player.ledger
    changes: dict[tuple[str, int, bool], Change] = {}
    for stage in stages:
        ledger.add("communication", _edges(plan, runner, stage) * micro)
        for (kind, first), change in known_changes(plan, runner, stage, known).items():
            changes[kind, stage.index, first] = change
    ledger.peak = 0
    begun: set[int] = set()
    for op in order(plan.layout, micro)[stages[0].rank]:
        if op.kind == "weight":
            _apply(ledger, changes["backward", op.stage, op.stage not in begun])
            begun.add(op.stage)
        elif op.kind == "input":
            _peak(ledger, changes["backward", op.stage, op.stage not in begun])
        else:
            _apply(ledger, changes[op.kind, op.stage, op.stage not in begun])
            begun |= {op.stage} if op.kind == "backward" else set()


def _apply(ledger: Ledger, change: Change) -> None:
    _peak(ledger, change)
    ledger.shift(change.left)


def _peak(ledger: Ledger, change: Change) -> None:
    ledger.doing = change.moment
    ledger.shift(change.most)
    ledger.shift(change.most, -1)


def _edges(plan: Plan, runner: Runner, stage: Stage) -> int:
    """Bytes that cross to a stage and back to it in one micro-batch; each has its buffers."""
    player = runner.player
    nodes = {node.name: node for node in plan.nodes(stage.body)}
    inputs = [node for node in plan.nodes(stage.body) if node.op == "input"][: len(stage.receives)]
    received = sum(player.made_size(node.outputs[0], _format(node.dtypes, 0)) for node in inputs)
    sent = 0
    if stage.sends:
        for name, output in plan.results[stage.body]:
            node = nodes[name]
            sent += player.made_size(node.outputs[output], _format(node.dtypes, output))
    return received + sent


def _format(dtypes: Sequence[str], output: int) -> str:
    return dtypes[output] if output < len(dtypes) else "fp32"


def known_changes(plan: Plan, runner: Runner, stage: Stage, known: Known) -> dict[Key, Change]:
    """What forward and backward of a stage do, once with and once without gradients of its parameters before."""
    if stage.body not in known:
        apart = Ledger()
        tape = Tape(apart)
        player = replace(runner.player, ledger=apart, tape=tape, cache={}, scope=[])
        alone = replace(runner, player=player, modules=((),))
        known[stage.body] = {}
        for first in (True, False):
            _measured(plan, alone, stage, first, known[stage.body])
    return known[stage.body]


def _measured(plan: Plan, runner: Runner, stage: Stage, first: bool, changes: dict[Key, Change]) -> None:
    """Plays forward and backward of a stage."""
    from .model import backward, batch, forward

    player = runner.player
    given = {}
    nodes = plan.nodes(stage.body)
    with _change(player.ledger) as change:
        for index, node in enumerate(node for node in nodes if node.op == "input"):
            received = index < len(stage.receives)
            dtype = _format(node.dtypes, 0)
            given[node.name, 0] = player.arrived(node.outputs[0], dtype) if received else batch(player, node)
        statements = [node for node in nodes if node.op != "input"]
        entries, results = forward(runner, stage.body, statements, given, plan.results[stage.body])
    changes["forward", first] = change()
    with _change(player.ledger) as change:
        backward(runner, entries, results if stage.sends else [each for each in results if each.count == 1])
    changes["backward", first] = change()


@contextmanager
def _change(ledger: Ledger) -> Iterator[Callable[[], Change]]:
    """Gives, at its end, what happened inside."""
    before, most, peak = dict(ledger.now), ledger.most, ledger.peak
    ledger.peak, ledger.most = 0, dict(ledger.now)
    found: list[Change] = []
    yield lambda: found[0]
    highest = {kind: ledger.most[kind] - before[kind] for kind in before}
    found.append(Change(ledger.since(before), highest, ledger.moment))
    ledger.most, ledger.peak = most, peak
