"""Peak memory of each rank of the pipeline, from the placed plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ...dsl.spec import Spec
from ..lower.inputs import prediction
from ..lower.parameters import Owned, owned
from ..node import Body, Node, Value
from ..passes.precision import WIDTH
from ..plan import Plan
from .buckets import BUCKET, IN_FLIGHT, Buckets
from .gathered import ROOT, Path, Sharded
from .ledger import Ledger
from .pipelined import Known, play_schedule
from .player import Player
from .runner import Runner
from .stage import StageMemory
from .tape import Entry, Fake, Tape

ROUNDING = 0.02
"""Share that the caching allocator of CUDA adds by rounding sizes to 512 bytes and blocks to 2 MiB: an assumption."""
FRAGMENTS = 0.04
"""Share that lies idle between them: an assumption, not measured."""


Layers = dict[Path, tuple[int, int]]
"""Trained values of one iteration, and of all, by the path of a repeat."""


def memory_of(plan: Plan, spec: Spec) -> tuple[StageMemory, ...]:
    """One entry for each rank of the pipeline; ranks of the other axes hold the same."""
    ranks = sorted({stage.rank for stage in plan.stages}) or [0]
    known: Known = {}
    return tuple(_rank(plan, spec, rank, known) for rank in ranks)


def _rank(plan: Plan, spec: Spec, rank: int, known: Known) -> StageMemory:
    stages = [stage for stage in plan.stages if stage.rank == rank]
    ledger = Ledger(doing="start of the step")
    low = {"bf16": "bf16", "fp16": "fp16", "fp8": "bf16"}.get(spec.precision.compute, "fp32")
    shares = plan.layout.data if plan.layout.shard != "none" else 1
    trained, layers = _stored(plan, [stage.body for stage in stages] or ["forward"], ledger)
    ledger.add("parameters", 4 * trained // shares)
    ledger.add("optimizer", 4 * trained // shares * states_of(spec))
    tape = Tape(ledger)
    if shares > 1 and stages:
        ledger.add("communication", trained * WIDTH[low])
    elif shares > 1:
        tape.sharded = Sharded(ledger, plan.layout.shard, shares, WIDTH[low], _units(trained, layers))
    runner = Runner(plan, Player(dict(plan.sizes), low, ledger, tape, gathered=low if shares > 1 else None))
    if stages:
        play_schedule(plan, spec, runner, stages, known)
    else:
        for part in reversed(range(min(spec.training.gradient_accumulation, 2))):
            tape.buckets = Buckets(ledger) if not part and plan.layout.data > 1 and shares == 1 else None
            micro_batch(plan, runner, last=not part)
            if tape.buckets:
                tape.buckets.finish()
    if plan.layout.data > 1 and shares == 1 and stages:  # a schedule has many backward passes; all is sent after it
        ledger.doing = "gradients added up over the data axis"
        ledger.burst(min(IN_FLIGHT * BUCKET, 4 * trained), "communication")
    if shares > 1 and stages:
        largest = max((size for size, _ in layers.values()), default=0)
        ledger.doing = "gradients scattered over the data axis"
        ledger.burst(4 * largest + 4 * trained // shares, "communication")
    margin = int(ledger.peak * (ROUNDING + FRAGMENTS))
    return StageMemory(rank=rank, moment=ledger.moment, margin=margin, **ledger.most)


def micro_batch(plan: Plan, runner: Runner, last: bool) -> None:
    """Forward and backward of the whole model; with ZeRO the `last` one lets go of what it has gathered."""
    sharded = runner.player.tape.sharded
    if sharded is not None:
        sharded.last = last
        sharded.begin(ROOT)
    nodes = plan.nodes("forward")
    losses = [each.value for each in plan.objectives if each.kind == "loss"]
    given = {(node.name, 0): batch(runner.player, node) for node in nodes if node.op == "input"}
    entries, results = forward(runner, "forward", _emitted(plan, nodes), given, losses)
    backward(runner, entries, results)
    if sharded is not None:
        sharded.finish()


def batch(player: Player, node: Node) -> Fake:
    """An input of the model: held to the end of the micro-batch."""
    fake = player.made(*player.tensor_of(node.outputs[0], "fp32"))
    player.ledger.turn(fake.storage, "buffers")
    player.scope.append(player.ledger.hold(fake.storage))
    return fake


def forward(
    runner: Runner, body: str, nodes: Sequence[Node], given: dict[Value, Fake], results: Sequence[Value]
) -> tuple[list[Entry], list[Fake]]:
    """Plays the statements of a body; what it has recorded, and its results, which the scope holds."""
    player = runner.player
    values = dict(given)
    with player.function() as give:
        runner.statements(body, nodes, values)
        give([values[value] for value in results])
    player.forget()
    entries, player.tape.entries = player.tape.entries, []
    return entries, [values[value] for value in results]


def backward(runner: Runner, entries: list[Entry], results: Sequence[Fake]) -> None:
    """Plays backward from the gradients of the results; what the scope holds goes with it."""
    player = runner.player
    ledger, tape = player.ledger, player.tape
    for value in results:
        if value.learns:
            tape.gradients[id(value)] = ledger.new(value.size)
    tape.backward(entries)
    for storage in (*player.scope, *tape.gradients.values()):
        ledger.drop(storage)
    player.scope = []
    tape.gradients.clear()


def _emitted(plan: Plan, nodes: Sequence[Node]) -> list[Node]:
    """The statements in the order of the program: the prediction, then what objectives need beside it."""
    body = replace(plan.bodies["forward"], nodes=tuple(nodes), results=plan.results["forward"])
    first = next(each for each in plan.objectives if each.kind == "loss")
    inside = _leading(nodes, [prediction(body, first)])
    rest = _leading(nodes, [each.value for each in plan.objectives if each.kind != "exit"])
    chosen = [node for node in nodes if node.name in inside]
    chosen += [node for node in nodes if node.name in rest and node.name not in inside]
    return [node for node in chosen if node.op != "input"]


def _leading(nodes: Sequence[Node], values: Sequence[Value]) -> set[str]:
    """Names of the nodes that lead to values."""
    wanted = {name for name, _ in values}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted |= {name for name, _ in node.inputs}
    return wanted


def _stored(plan: Plan, bodies: Sequence[str], ledger: Ledger) -> tuple[int, Layers]:
    """Number of trained values, and those of repeats; what is not trained is added to the ledger."""
    known = {
        name: Body(name, body.block, plan.nodes(name), plan.results[name], body.span)
        for name, body in plan.bodies.items()
    }
    found = [each for body in bodies for each in owned(known, body)]
    for each in found:
        if not each.parameter.trained:
            ledger.add("buffers", _elements(each) * (8 if each.parameter.kind == "int" else 4))
    layers: Layers = {}
    for each in (each for each in found if each.parameter.trained and ".*" in each.path):
        path = tuple(each.path.split(".*")[0].split("."))
        one, all_of_them = layers.get(path, (0, 0))
        layers[path] = (one + _elements(each) // each.count, all_of_them + _elements(each))
    return sum(_elements(each) for each in found if each.parameter.trained), layers


def _units(trained: int, layers: Layers) -> dict[Path, int]:
    """Values that ZeRO gathers at a time: of an iteration of each repeat, and of all that is in none."""
    return {path: one for path, (one, _) in layers.items()} | {ROOT: trained - sum(n for _, n in layers.values())}


def _elements(each: Owned) -> int:
    return prod(int(n) for n in each.parameter.shape if isinstance(n, int)) * each.count


def states_of(spec: Spec) -> int:
    """Tensors of optimizer state per parameter."""
    if spec.optimizer.kind == "sgd":
        return int(spec.setting("optimizer.momentum") != 0.0)
    return 2
