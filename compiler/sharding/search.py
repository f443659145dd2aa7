"""The cheapest placement of every body for each choice of types at its interface.

Every value is a variable whose domain is its types, every node a table of its rows, every use an edge that costs its
conversion; see `eliminate`. The types of a body's inputs and results are kept free, so that a call is a table over
them: a thousand layers take as long as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from ..dims import symbols
from ..node import Node, Objective, Tensor, Value
from ..ops import OPS
from ..ops.base import kept
from ..passes.precision import LOW
from ..placement import Axis
from ..plan import Plan
from .convert import Conversions, Edge
from .eliminate import Key, Minimum, Name, Table, TooWide, minimise
from .gradients import Carrying, carrying
from .legal import Choice, Rules
from .places import Code, conversion, whole
from .prices import OTHERS_SAMPLES, Prices, Rates
from .ties import Ties, ties_of

LEVELS = 4
"""See `_Builder`."""
CLOSED = 1e-9
"""Seconds for a partial or replicated type at the interface of a block: among equals, the block has its collectives."""


@dataclass(frozen=True)
class Solved:
    """How a node runs: types of its inputs and outputs, and its row; of a call, the choice at its body's interface."""

    inputs: tuple[Code, ...]
    outputs: tuple[Code, ...]
    choice: Choice | None = None
    inner: Key | None = None


@dataclass(frozen=True)
class Assignment:
    """A body for one choice at its interface: its nodes, the conversions of each value, and types of its results."""

    nodes: dict[str, Solved]
    inputs: tuple[Code, ...]
    conversions: dict[Value, tuple[Edge, ...]]
    made: dict[Value, Code]
    results: tuple[Code, ...]


@dataclass
class Problem:
    """A body as tables: its variables for the interface, and what each row of a node's table stands for."""

    minimum: Minimum
    inputs: tuple[Name, ...]
    results: tuple[Name, ...]
    shared: tuple[Name, ...]
    rows: dict[str, tuple[tuple[Name, ...], dict[Key, Solved]]]
    uses: dict[Value, list[Name]]
    trees: dict[Value, Conversions]


@dataclass
class Search:
    """Problems of a plan's bodies on one axis, each solved once; `levels` tells how, see `_Builder`."""

    plan: Plan
    axis: Axis
    size: int
    sequence: bool
    divisor: int
    rates: Rates
    gradients: Carrying = field(init=False)
    rules: Rules = field(init=False)
    prices: Prices = field(init=False)
    ties: Ties = field(init=False)
    levels: dict[str, int] = field(default_factory=dict)
    _problems: dict[str, Problem] = field(default_factory=dict)
    _conversions: dict[Any, Conversions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gradients = carrying(self.plan)
        self.rules = Rules(self.plan, self.axis, self.size, self.sequence, self.gradients, self.divisor)
        sizes = dict(self.plan.sizes)
        self.prices = Prices(self.axis, self.size, sizes, self.rates)
        self.ties = ties_of(self.plan)

    def problem(self, body: str) -> Problem:
        """The body's problem, solved for every choice at its interface."""
        for level in range(LEVELS):
            if body not in self._problems:
                with suppress(TooWide):
                    self._problems[body] = _Builder(self, body, level).build()
                    self.levels[body] = level
        return self._problems[body]

    def assignment(self, body: str, key: Key) -> Assignment:
        """The cheapest placement of a body for a choice at its interface."""
        problem = self.problem(body)
        chosen = problem.minimum.decide(key)
        nodes = {
            name: table[tuple(chosen[variable] for variable in names)] for name, (names, table) in problem.rows.items()
        }
        inputs = tuple(chosen[name] for name in problem.inputs)
        made = {(n.name, 0): c for n, c in zip(self._inputs(body), inputs, strict=True)}
        made |= {(name, i): code for name, solved in nodes.items() for i, code in enumerate(solved.outputs)}
        conversions = {}
        for value, variables in problem.uses.items():
            tree = problem.trees[value].tree(made[value], [chosen[variable] for variable in variables])
            assert tree is not None
            conversions[value] = tree[1]
        return Assignment(nodes, inputs, conversions, made, tuple(chosen[name] for name in problem.results))

    def conversions(self, body: str, value: Value, types: Sequence[Code]) -> Conversions:
        """Conversions of a value between types."""
        tensor = whole(self.plan.tensor(body, value), self.axis, self.size)
        amount = self.prices.bytes(tensor, self.format(body, value))
        carries = value in self.gradients[body]
        known = (tuple(sorted(set(types))), amount, carries)
        if known not in self._conversions:
            self._conversions[known] = Conversions(types, self._price(amount, carries))
        return self._conversions[known]

    def format(self, body: str, value: Value) -> str:
        """The number format that conversions of a value move: the low one, where nothing else is computed with it."""
        graph = self.plan.graphs[body]
        made: Node = graph.nodes[value[0]]["node"]
        users: list[Node] = [graph.nodes[name]["node"] for name in graph.successors(value[0])]
        formats = {user.dtypes[0] if user.op in LOW else "" for user in users if value in user.inputs}
        kept = value in self.plan.results[body] or made.outputs[value[1]].kind != "float" or len(formats) != 1
        return made.dtypes[value[1]] if kept or "" in formats else min(formats)

    def _price(self, amount: float, carries: bool) -> Any:
        def price(source: Code, target: Code) -> float | None:
            if not carries and {source, target} == {"I", "R"}:
                return 0.0
            found = conversion(source, target) if self.axis != "expert" else None
            if found is None:
                return None
            moved = self.prices.collective(found.forward, amount)
            if self.axis == "data" and found.forward == "all_gather":
                moved += OTHERS_SAMPLES
            moved += self.prices.collective(found.backward, amount) if carries else 0.0
            touched = amount / self.size if target[0] == "S" else amount
            return moved + (0.0 if found.name == "copy" else 3 * touched / self.rates.memory)

        return price

    def _inputs(self, body: str) -> list[Node]:
        return [node for node in self.plan.nodes(body) if node.op == "input"]


class _Builder:
    """Makes the tables of one body.

    The choice is exact at level 0. Bodies with many inputs, or with many values that are used throughout, take the
    first level whose tables stay small. From 1: the interface has only the types that streams of activations usually
    have, and a value is used in two types at most. From 2: in one type. At 3: a value with three uses or more is used
    as every rank's own (R), or by its samples on the data axis.
    """

    def __init__(self, search: Search, body: str, level: int) -> None:
        self.search, self.body, self.level = search, body, level
        self.nodes = search.plan.nodes(body)
        self.tables: list[Table] = []
        self.rows: dict[str, tuple[tuple[Name, ...], dict[Key, Solved]]] = {}
        self.uses: dict[Value, list[Name]] = {}
        self.domains: dict[Name, list[Code]] = {}
        self.shared: dict[Name, None] = {}
        self.keepers = Counter(value for node in self.nodes for value in self._kept(node))

    def _kept(self, node: Node) -> set[Value]:
        """Values of the body that the backward of a node keeps; several nodes keep one together."""
        if node.op not in OPS:
            return set()
        return {value for value, _ in kept(OPS[node.op], node, self.search.rules.inputs(self.body, node)) if value}

    def build(self) -> Problem:
        """The solved problem."""
        for node in self.nodes:
            if node.op != "input":
                self._node(node)
        wanted = self._objectives() if self.body == "forward" else self._results()
        inputs = self._inputs()
        trees = {value: self._value(value, uses) for value, uses in self.uses.items()}
        interface = () if self.body == "forward" else (*inputs, *wanted, *self.shared)
        minimum = minimise(self.tables, interface)
        return Problem(minimum, inputs, wanted, tuple(self.shared), self.rows, self.uses, trees)

    def _node(self, node: Node) -> None:
        uses = tuple(self._use(value, ("use", node.name, i)) for i, value in enumerate(node.inputs))
        made = tuple(("made", node.name, i) for i in range(len(node.outputs)))
        options = self._calls(node) if node.body is not None else self._choices(node)
        costs: dict[Key, float] = {}
        solved: dict[Key, Solved] = {}
        names: tuple[Name, ...] = (*uses, *made)
        for way, cost, extra in options:
            names = (*uses, *made, *(name for name, _ in extra))
            key = (*way.inputs, *way.outputs, *(code for _, code in extra))
            if key not in costs or cost < costs[key]:
                costs[key], solved[key] = cost, way
        for i, name in enumerate(names):
            self.domains[name] = list(dict.fromkeys(key[i] for key in costs))
            if i >= len(uses) + len(made):
                self.shared[name] = None
        self._table(node, names, costs)
        self.rows[node.name] = names, solved

    def _table(self, node: Node, names: tuple[Name, ...], costs: dict[Key, float]) -> None:
        """The table of a node; that of one with many variables as a star around its row, which keeps tables small."""
        if node.body is not None or len(names) <= 4:
            self.tables.append(Table(names, costs))
            return
        row: Name = ("row", node.name)
        self.tables.append(Table((row,), {(i,): cost for i, cost in enumerate(costs.values())}))
        for at, name in enumerate(names):
            self.tables.append(Table((row, name), {(i, key[at]): 0.0 for i, key in enumerate(costs)}))

    def _use(self, value: Value, name: Name) -> Name:
        self.uses.setdefault(value, []).append(name)
        return name

    def _choices(self, node: Node) -> list[tuple[Solved, float, list[tuple[Name, Any]]]]:
        search, ties = self.search, self.search.ties
        tensors, outputs = search.rules.inputs(self.body, node), search.rules.outputs(node)
        sites = [(self.body, node.name, p.name) for p in node.parameters]
        tied = search.axis != "data"
        found = []
        for choice in search.rules.choices(self.body, node):
            pairs = list(zip(sites, choice.parameters, strict=True))
            if tied and any(site in ties.whole and code != "I" for site, code in pairs):
                continue
            extra: list[tuple[Name, Any]] = [
                (("tie", ties.groups[s]), code) for s, code in pairs if tied and s in ties.groups
            ]
            cost = self._cost(node, tensors, outputs, choice)
            found.append((Solved(choice.inputs, choice.outputs, choice), cost, list(dict.fromkeys(extra))))
        return found

    def _cost(self, node: Node, inputs: Sequence[Tensor], outputs: Sequence[Tensor], choice: Choice) -> float:
        prices, search = self.search.prices, self.search
        local: dict[Value, float] = {}
        amounts = []
        incoming = [self._format(node, value) for value in node.inputs]
        sides = (
            *zip(node.inputs, inputs, choice.inputs, incoming, strict=True),
            *zip([(node.name, i) for i in range(len(outputs))], outputs, choice.outputs, node.dtypes, strict=True),
        )
        for value, tensor, code, dtype in sides:
            amount = prices.bytes(tensor, dtype) / (search.size if code[0] == "S" else 1)
            local[value] = amount
            amounts.append(amount)
        split = any(code[0] == "S" for code in (*choice.inputs, *choice.parameters, *choice.outputs))
        moved = prices.moves(choice.row.moves)
        held = prices.parameters(node.parameters, choice.parameters)
        if node.op in ("collective",):
            return sum(amounts) / prices.rates.memory
        shared = {value: amount / self.keepers.get(value, 1) for value, amount in local.items()}
        return prices.work(node, inputs, amounts, split) + prices.saved(node, inputs, shared, split) + moved + held

    def _format(self, user: Node, value: Value) -> str:
        """The number format that a node reads a value in."""
        node: Node = self.search.plan.graphs[self.body].nodes[value[0]]["node"]
        return user.dtypes[0] if user.op in LOW and node.outputs[value[1]].kind == "float" else node.dtypes[value[1]]

    def _calls(self, node: Node) -> list[tuple[Solved, float, list[tuple[Name, Any]]]]:
        assert node.body is not None
        problem, rules = self.search.problem(node.body), self.search.rules
        count, ends = len(problem.inputs), len(problem.inputs) + len(problem.results)
        carried = node.attrs["carried"] if node.op == "repeat" else 0
        found = []
        for key, cost in problem.minimum.costs.items():
            inputs, results = key[:count], key[count:ends]
            if inputs[:carried] != results[:carried]:
                continue
            extra = list(zip(problem.shared, key[ends:], strict=True))
            if node.body in self.search.ties.single:
                extra.append((("body", node.body), key[:ends]))
            outer = tuple(rules.known(self.body, v, c) for v, c in zip(node.inputs, inputs, strict=True))
            made = tuple(rules.known(self.body, (node.name, i), c) for i, c in enumerate(results))
            open_ends = sum(code in ("P", "R") for code in key[:ends])
            found.append((Solved(outer, made, None, key), cost * node.count + open_ends * CLOSED, extra))
        return found

    def _inputs(self) -> tuple[Name, ...]:
        names = []
        for node in self.nodes:
            if node.op == "input":
                name = ("made", node.name, 0)
                names.append(name)
                self.domains[name] = self._given(node)
                self.tables.append(Table((name,), {(code,): 0.0 for code in self.domains[name]}))
        return tuple(names)

    def _given(self, node: Node) -> list[Code]:
        """Types that an input may come in: those that something in the body uses."""
        value = (node.name, 0)
        if self.body == "forward":
            batch = self.search.axis == "data" and any("B" in symbols(dim) for dim in node.outputs[0].shape)
            return ["S0"] if batch else ["I"]
        found = dict.fromkeys(code for use in self.uses.get(value, ()) for code in self.domains[use])
        return self._usual(value, list(found) or ["I"])

    def _usual(self, value: Value, codes: list[Code]) -> list[Code]:
        """Types of a value at the interface; from level 1 on those of usual streams."""
        if self.level == 0:
            return codes
        tensor, carries = self.search.plan.tensor(self.body, value), value in self.search.gradients[self.body]
        if self.search.axis == "data":
            usual = {"R" if carries else "I", "S0", *(("P",) if not tensor.shape else ())}
        elif self.search.axis == "expert":
            usual = {"I", "S0"}
        else:
            along = (
                [f"S{d}" for d, dim in enumerate(tensor.shape) if "S" in symbols(dim)] if self.search.sequence else []
            )
            usual = {"I", *along}
        return [code for code in codes if code in usual] or sorted(usual)[:1]

    def _results(self) -> tuple[Name, ...]:
        names = []
        for index, value in enumerate(self.search.plan.results[self.body]):
            node: Node = self.search.plan.graphs[self.body].nodes[value[0]]["node"]
            tensor = node.outputs[value[1]]
            alike = [
                use
                for n in self.nodes
                if n.op == "input" and n.outputs[0] == tensor
                for use in self.uses.get((n.name, 0), ())
            ]  # what may be asked for when a repeat hands it to the next iteration
            made = self.domains.get(("made", *value), [])
            codes = [*made, *(c for use in alike for c in self.domains[use])] or ["I"]
            name = self._use(value, ("result", index))
            known = [self.search.rules.known(self.body, value, code) for code in codes]
            self.domains[name] = self._usual(value, list(dict.fromkeys(known)))
            self.tables.append(Table((name,), {(code,): 0.0 for code in self.domains[name]}))
            names.append(name)
        return tuple(names)

    def _objectives(self) -> tuple[Name, ...]:
        names = []
        for index, objective in enumerate(self.search.plan.objectives):
            name = self._use(objective.value, ("result", index))
            self.domains[name] = self._asked(objective)
            self.tables.append(Table((name,), {(code,): 0.0 for code in self.domains[name]}))
            names.append(name)
        return tuple(names)

    def _asked(self, objective: Objective) -> list[Code]:
        """Types that an objective may end in.

        A loss and a metric are one number on the tensor axis, and on the data axis a sum over ranks, which is what an
        evaluation takes; an exit has each rank's samples.
        """
        if self.search.axis != "data":
            return ["I"]
        return {"loss": ["P"], "metric": ["P"], "exit": ["S0", "I"]}[objective.kind]

    def _value(self, value: Value, uses: list[Name]) -> Conversions:
        made = ("made", *value)
        known = self.search.rules.known
        sets = [[known(self.body, value, code) for code in self.domains[use]] for use in uses]
        wanted = list(dict.fromkeys(code for codes in sets for code in codes))
        trees = self.search.conversions(self.body, value, (*self.domains[made], *wanted, "I"))
        if len(uses) == 1:
            costs = {}
            for source in self.domains[made]:
                for target in wanted:
                    tree = trees.tree(source, (target,))
                    if tree is not None:
                        costs[source, target] = tree[0]
            self.tables.append(Table((made, uses[0]), costs))
            return trees
        available: Name = ("available", *value)
        most = min(len(uses), len(wanted), (len(wanted), 2, 1, 1)[self.level])
        options = [set_ for n in range(1, most + 1) for set_ in combinations(sorted(wanted), n)]
        if self.level == 3 and len(uses) > 2:
            options = [o for o in options if o in (("R",), ("S0",))] or [o for o in options if o == ("I",)] or options
        both = {}
        for source in self.domains[made]:
            for option in options:
                tree = trees.tree(source, option)
                if tree is not None:
                    both[source, option] = tree[0]
        self.tables.append(Table((made, available), both))
        for use, codes in zip(uses, sets, strict=True):
            member = {(option, code): 0.0 for option in options for code in dict.fromkeys(codes) if code in option}
            self.tables.append(Table((available, use), member))
        return trees
