"""Stages as bodies: each holds its part of the model, receives what it needs of the ones before, and passes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..node import Body, Node, Value
from ..plan import Plan, Stage
from .flatten import Flat, Line, Step
from .share import held, resolve

Pieces = Mapping[int, Sequence[tuple[int, int, int]]]
"""For each step: stage, first iteration, iterations."""


@dataclass(frozen=True)
class Piece:
    """A step, or some iterations of a repeat, on one stage; `reads` and `makes` are values of the line."""

    stage: int
    step: Step
    reads: tuple[Flat, ...]
    makes: tuple[Flat, ...]
    first: int = 0
    count: int = 1


@dataclass
class Draft:
    """A stage that is being written: nodes by name, and the local name of each value of the line."""

    nodes: list[Node] = field(default_factory=list)
    local: dict[Flat, Value] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    receives: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    iterations: tuple[tuple[str, int, int], ...] = ()

    def unique(self, name: str) -> str:
        """A name that no node of the stage has yet."""
        chosen, number = name, 1
        while chosen in self.taken:
            number += 1
            chosen = f"{name}_{number}"
        self.taken.add(chosen)
        return chosen


def split(line: Line, pieces: Pieces) -> list[Piece]:
    """All pieces in order; the pieces of a repeat hand on what it carries."""
    found = []
    for index, step in enumerate(line.steps):
        outputs = tuple((step.path, k) for k in range(len(step.node.outputs)))
        reads = step.inputs
        rows = pieces[index]
        for number, (stage, first, count) in enumerate(rows):
            last = number == len(rows) - 1
            makes = outputs if last else tuple(((*path, f"#{number}"), k) for path, k in outputs)
            found.append(Piece(stage, step, reads, makes, first, count))
            reads = (*makes, *step.inputs[len(makes) :])
    return found


def receives(pieces: Sequence[Piece], wanted: Sequence[Flat], stages: int) -> list[list[Flat]]:
    """What each stage gets from the one before it: all that was made before and is needed in it or after it."""
    made = {value: piece.stage for piece in pieces for value in piece.makes}
    last = dict(made)
    for piece in pieces:
        last.update((value, max(last[value], piece.stage)) for value in piece.reads if value in made)
    last.update((value, stages - 1) for value in wanted if value in made)
    return [[value for value in made if made[value] < stage <= last[value]] for stage in range(stages)]


def build(plan: Plan, line: Line, pieces: Sequence[Piece]) -> tuple[dict[str, Body], tuple[Stage, ...]]:
    """Bodies by name, and the stages; equal ones share a body."""
    count = pieces[-1].stage + 1
    wanted = [line.values[o.value] for o in plan.objectives if o.kind != "exit"]
    arriving = receives(pieces, wanted, count)
    bodies: dict[str, Body] = {}
    stages: list[Stage] = []
    for index in range(count):
        draft = Draft()
        mine = [piece for piece in pieces if piece.stage == index]
        leaving = arriving[index + 1] if index + 1 < count else wanted
        _inputs(plan, line, draft, arriving[index], [*(v for p in mine for v in p.reads), *leaving])
        first = len(draft.nodes)
        draft.nodes += held(plan, line, [(p.step, range(p.first, p.first + p.count)) for p in mine])
        draft.taken |= {node.name for node in draft.nodes[first:]}
        for piece in mine:
            _add(draft, piece)
        results = tuple(draft.local[value] for value in leaving)
        forward = plan.bodies["forward"]
        body = Body(f"stage_{index}", "stage", tuple(draft.nodes), results, forward.span, forward.legend)
        known = next((b.name for b in bodies.values() if replace(b, name=body.name) == body), None)
        bodies |= {} if known else {body.name: body}
        sends = tuple(line_name(value) for value in leaving) if index + 1 < count else ()
        got = tuple(line_name(value) for value in arriving[index])
        stages.append(Stage(index, 0, known or body.name, got, sends, draft.inputs, draft.iterations))
    return bodies, tuple(stages)


def line_name(value: Flat) -> str:
    """A value as people read it: the names of the calls around it, its own, and the output where there are several."""
    path, output = value
    name = ".".join(part for part in path if not part.startswith("#"))
    return f"{name}[{output}]" if output else name


def _inputs(plan: Plan, line: Line, draft: Draft, arriving: Sequence[Flat], reads: Iterable[Flat]) -> None:
    """The received values first, then the inputs of the model that the stage reads."""
    reads = list(reads)
    given = [n for n in plan.nodes("forward") if n.op == "input" and ((n.name,), 0) in reads]
    draft.taken |= {node.name for node in given}
    for value in arriving:
        made = line.types[_whole(value)]
        node = Node(
            draft.unique(made.name), "input", (), (made.tensor,), made.span, dtypes=(made.dtype,),
            placements=(made.placement,) if made.placement else (),
        )  # fmt: skip
        draft.nodes.append(node)
        draft.local[value] = (node.name, 0)
    draft.nodes += given
    draft.local |= {((node.name,), 0): (node.name, 0) for node in given}
    draft.inputs = tuple(node.name for node in given)


def _whole(value: Flat) -> Flat:
    """The value without the mark of a piece: it has the type of what the whole repeat makes."""
    return tuple(part for part in value[0] if not part.startswith("#")), value[1]


def _add(draft: Draft, piece: Piece) -> None:
    node = piece.step.node
    label = piece.step.prefix + node.label if node.label else None
    made = replace(
        node,
        name=draft.unique(piece.step.name),
        inputs=tuple(draft.local[value] for value in piece.reads),
        label=label,
        share=resolve(piece.step, draft.nodes) if node.share else None,
        count=piece.count if node.op == "repeat" else node.count,
    )
    if node.op == "repeat" and label is not None:
        draft.iterations = (*draft.iterations, (label, piece.first, piece.count))
    draft.nodes.append(made)
    draft.local |= {value: (made.name, k) for k, value in enumerate(piece.makes)}
