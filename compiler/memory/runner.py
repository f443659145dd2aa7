"""Plays the bodies of a plan: calls, repeats, and the parts of them that backward runs again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..lower.ownership import UP
from ..node import Node, Recompute, Value
from ..ops import OPS
from ..plan import Plan
from .kernels import play
from .ledger import Storage
from .player import FLOATS, Player
from .tape import Again, Edge, Entry, Fake, Many, Mark

Path = tuple[str, ...]
PLAYED = 4
"""Iterations of a repeat that are played: two at each end; those between are like the second, or last but one."""


@dataclass
class Runner:
    """`modules` are the paths of the modules around the statements, innermost last, as in `emit.statements.Writer`."""

    plan: Plan
    player: Player
    modules: tuple[Path, ...] = ((),)
    uses: dict[str, dict[Value, int]] = field(default_factory=dict)

    def body(self, name: str, given: Sequence[Fake]) -> list[Fake]:
        """Results of a body, which the scope around it then holds."""
        nodes = self.plan.nodes(name)
        inputs = [node for node in nodes if node.op == "input"]
        values = {(node.name, 0): value for node, value in zip(inputs, given, strict=True)}
        with self.player.function() as give:
            self.statements(name, [node for node in nodes if node.op != "input"], values)
            results = [values[value] for value in self.plan.results[name]]
            give(results)
        return results

    def statements(self, name: str, nodes: Sequence[Node], values: dict[Value, Fake]) -> None:
        """Plays nodes in order; a value goes after its last use."""
        last, gone = self._last(name, nodes), set[Value]()
        for index, node in enumerate(nodes):
            made = self.node(node, name, [values[value] for value in node.inputs])
            values |= {(node.name, output): result for output, result in enumerate(made)}
            for value in [value for value in values if last[value] <= index and value not in gone]:
                gone.add(value)
                self.gone(values[value])

    def gone(self, value: Fake) -> None:
        """The variable of a value takes another, or its function ends."""
        scope = self.player.scope
        for i in range(len(scope) - 1, -1, -1):
            if scope[i] is value.storage:
                self.player.ledger.drop(scope.pop(i))
                return

    def _last(self, name: str, nodes: Sequence[Node]) -> dict[Value, int]:
        """The statement after which a value goes: its last use if it is written inline, else when its name does."""
        if name in self.uses:
            return self.uses[name]
        users: dict[Value, list[int]] = {}
        for index, node in enumerate(nodes):
            for value in node.inputs:
                users.setdefault(value, []).append(index)
        last: dict[Value, int] = {}
        order = {node.name: index for index, node in enumerate(nodes)}
        for node in self.plan.nodes(name):
            index = order.get(node.name, -1)
            for output in range(len(node.outputs)):
                used = users.get((node.name, output), [index])
                inline = name == "forward" or (len(used) == 1 and _plain(self.plan, node, nodes))
                last[node.name, output] = used[-1] if inline else _renamed(node, nodes, used[-1])
        ends = [*self.plan.results[name], *(each.value for each in self.plan.objectives if name == "forward")]
        self.uses[name] = last | dict.fromkeys(ends, len(nodes))
        return self.uses[name]

    def node(self, node: Node, body: str, xs: list[Fake]) -> list[Fake]:
        """Results of one node."""
        if node.op == "call":
            inside = replace(self, modules=(self._path(node),))
            if node.recompute:
                return self._recomputed(inside, [str(node.body)], xs, node.recompute[0].kind)
            return inside.body(str(node.body), xs)
        if node.op == "repeat":
            return self._repeat(node, xs)
        inputs = [self.plan.tensor(body, value) for value in node.inputs]
        if node.op not in OPS:
            from .parallel import beside

            return beside(self.player, node, xs)
        self.player.module = self._path(node)
        return play(self.player, node, xs, inputs)

    def _path(self, node: Node) -> Path:
        share = node.share or ()
        if not share:
            return (*self.modules[-1], node.label or node.name)
        ups = sum(step == UP for step in share)
        return (*self.modules[max(len(self.modules) - 1 - ups, 0)], *share[ups:])

    def _repeat(self, node: Node, xs: list[Fake]) -> list[Fake]:
        carried = node.attrs["carried"]
        values = list(xs)
        for part in _parts(node):
            length = part.segment
            count = (part.stop - part.start) // length
            for index in range(count):
                if count > PLAYED and index == 2:
                    self._skip(count - PLAYED)
                if 2 <= index < count - 2:
                    continue
                self.player.tape.entries.append(Mark())
                before, copies = dict(self.player.ledger.now), set(self.player.cache)
                made = self._unit(node, part, part.start + index * length, values)
                for old, given in zip(values[:carried], xs, strict=False):
                    if old is not given:
                        self.gone(old)
                values[:carried] = made
                self.change = self.player.ledger.since(before)
                added = [copy.storage for path, copy in self.player.cache.items() if path not in copies]
                self.loose = sum(storage.size for storage in added if storage.holders == 1)
        self.player.tape.entries.append(Mark())
        return values[:carried]

    def _skip(self, count: int) -> None:
        self.player.tape.entries.append(Many(count))
        self.player.ledger.shift(self.change, count)
        self.player.loose += self.loose * count

    def _unit(self, node: Node, part: Recompute, first: int, values: list[Fake]) -> list[Fake]:
        """One segment of iterations."""
        paths = [(*self._path(node), str(first + i)) for i in range(part.segment)]
        if part not in node.recompute:
            return self._iteration(replace(self, modules=(*self.modules, paths[0])), str(node.body), values)
        insides = replace(self, modules=(*self.modules, paths[0]))
        return self._recomputed(insides, [str(node.body)] * part.segment, values, part.kind, paths)

    @staticmethod
    def _iteration(inside: Runner, body: str, values: Sequence[Fake]) -> list[Fake]:
        """One iteration, gathered where ZeRO has cut its parameters up."""
        tape, path = inside.player.tape, inside.modules[-1]
        if tape.sharded is None or not tape.sharded.is_unit(path):
            return inside.body(body, values)
        tape.entries.append(Edge(path, begins=True))
        tape.sharded.begin(path)
        made = inside.body(body, values)
        tape.sharded.end(path)
        tape.entries.append(Edge(path, begins=False))
        return made

    def _recomputed(
        self, inside: Runner, bodies: list[str], xs: list[Fake], kind: str, paths: Sequence[Path] = ()
    ) -> list[Fake]:
        """Runs bodies one after the other and keeps only what they are given; backward runs them again."""
        player = self.player
        if not player.tape.recording:
            return self._chain(inside, bodies, xs, paths)
        xs = list(xs)  # the values of the loop change
        tape, outer = player.tape, player.keeps
        kept: list[Storage] = []
        entries, tape.entries, tape.recording = tape.entries, [], False
        player.keeps = kept if kind == "selective" else None
        results = self._chain(inside, bodies, xs, paths)
        player.keeps = outer
        tape.entries, tape.recording = entries, True
        for result in results:
            result.learns = True
        held = [player.ledger.hold(x.storage) for x in xs]
        for storage in held:
            if storage.kind == "transient":
                player.ledger.turn(storage, "activations")

        def again() -> list[Entry]:
            scope, player.scope = player.scope, []
            saved, tape.entries = tape.entries, []
            tape.kind, player.kept = "recompute", iter(kept) if kind == "selective" else None
            tape.reached = player.ledger.top()
            made = self._chain(inside, bodies, xs, paths)
            player.ledger.back_to(tape.reached)
            inner, tape.entries = tape.entries, saved
            tape.kind, player.kept = "activations", None
            player.forget()
            for storage in (*player.scope, *kept):
                player.ledger.drop(storage)
            player.scope = scope
            for old, new in zip(results, made, strict=True):
                if id(old) in tape.gradients:
                    tape.gradients[id(new)] = tape.gradients.pop(id(old))
            return inner

        tape.entries.append(Again(again, tuple(held)))
        if tape.sharded is not None and paths and tape.sharded.is_unit(paths[-1]):
            tape.entries.append(Edge(paths[-1], begins=False))  # a hook on the result, before anything is run again
        return results

    @staticmethod
    def _chain(inside: Runner, bodies: list[str], xs: list[Fake], paths: Sequence[Path]) -> list[Fake]:
        values = list(xs)
        made: list[Fake] = []
        for index, body in enumerate(bodies):
            runner = replace(inside, modules=(*inside.modules[:-1], paths[index])) if paths else inside
            before, made = made, runner._iteration(runner, body, values)
            for value in before:
                runner.gone(value)
            values[: len(made)] = made
        return made


def _stem(node: Node, nodes: Sequence[Node]) -> str:
    """The node's name without the number that told it apart from earlier ones of the same name."""
    base = re.sub(r"_\d+$", "", node.name)
    return base if any(other.name == base for other in nodes) else node.name


def _plain(plan: Plan, node: Node, nodes: Sequence[Node]) -> bool:
    """Whether a node has no name of its own in the spec, so that emission may write it inside another expression."""
    return _stem(node, nodes) in {node.op, node.label, plan.bodies[node.body].block if node.body else None}


def _renamed(mine: Node, nodes: Sequence[Node], used: int) -> int:
    """The first statement from the last use on that gives the variable's name to another value."""
    stem = _stem(mine, nodes)
    for later in range(max(used, 0), len(nodes)):
        other = nodes[later]
        if other is not mine and _stem(other, nodes) == stem and other.outputs[0].shape == mine.outputs[0].shape:
            return later
    return len(nodes)


def _parts(node: Node) -> list[Recompute]:
    """All iterations in order; those that are not recomputed are no part of the node's own."""
    parts: list[Recompute] = []
    done = 0
    for each in node.recompute:
        if each.start > done:
            parts.append(Recompute("full", done, each.start))
        parts.append(each)
        done = each.stop
    return [*parts, Recompute("full", done, node.count)] if done < node.count else parts


def differentiable(value: Fake) -> bool:
    """Whether a gradient can reach it."""
    return value.dtype in FLOATS and value.learns
