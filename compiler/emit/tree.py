"""Who owns what: the parameters of the model by their paths, as the emitted modules name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..lower.parameters import rises, tied_names
from ..node import Body, Node, Parameter
from ..ops import OPS

ANY = "*"
Bodies = Mapping[str, Body]


@dataclass(frozen=True)
class Owned:
    """A parameter with its path; each `*` stands for the iterations of a repeat, whose numbers are `counts`.

    `owner` is the body and the node that it belongs to.
    """

    path: str
    parameter: Parameter
    counts: tuple[int, ...] = ()
    owner: tuple[str, str] = ("", "")

    @property
    def example(self) -> str:
        """One of the paths."""
        return self.path.replace(ANY, "0")

    def names(self) -> list[str]:
        """All of the paths."""
        paths = [self.path]
        for count in self.counts:
            paths = [path.replace(ANY, str(i), 1) for path in paths for i in range(count)]
        return paths


def owned(bodies: Bodies, chain: tuple[Body, ...], prefix: str = "", counts: tuple[int, ...] = ()) -> Iterator[Owned]:
    """The parameters of the last body of the chain; a tied one is left to the call that it is tied to."""
    for node in chain[-1].nodes:
        if node.label is None:
            continue
        tied = tied_names(bodies, chain, node)
        path = f"{prefix}{node.label}." + (f"{ANY}." if node.op == "repeat" else "")
        times = (*counts, node.count) if node.op == "repeat" else counts
        own = (chain[-1].name, node.name)
        yield from (Owned(path + p.name, p, times, own) for p in node.parameters if p.name not in tied)
        if node.body is not None and not tied:
            yield from owned(bodies, (*chain, bodies[node.body]), path, times)


def units(bodies: Bodies, body: str = "forward", prefix: str = "") -> list[str]:
    """Paths of the outermost repeats: what ZeRO gathers is one of their iterations at a time."""
    found: list[str] = []
    for node in bodies[body].nodes:
        if node.op == "repeat" and not rises(bodies, str(node.body)):
            found.append(f"{prefix}{node.label}")
        elif node.op == "call" and node.label is not None and node.body is not None:
            found += units(bodies, node.body, f"{prefix}{node.label}.")
    return found


def start_values(parameters: list[Owned]) -> dict[str, list[str]]:
    """Patterns of names by start value; one that would match a parameter with another value is written out."""
    trained = [each for each in parameters if each.parameter.trained]
    starred = [each for each in trained if ANY in each.path]
    table: dict[str, list[str]] = {}
    for each in trained:
        table.setdefault(each.parameter.init, []).extend(
            each.names() if each in starred and _catches(each, trained) else [each.path]
        )
    return table


def _catches(each: Owned, others: list[Owned]) -> bool:
    """Whether its pattern matches a parameter that starts otherwise."""
    return any(o.parameter.init != each.parameter.init and fnmatchcase(o.example, each.path) for o in others)


def decaying(parameters: list[Owned]) -> list[str] | None:
    """Patterns of what decays; None where that is all matrices and nothing else, which is the runtime's own rule."""
    trained = [each for each in parameters if each.parameter.trained]
    if all(each.parameter.decays == (len(each.parameter.shape) >= 2) for each in trained):
        return None
    free = [each for each in trained if not each.parameter.decays]
    patterns = []
    for each in trained:
        if each.parameter.decays:
            catches = ANY in each.path and any(fnmatchcase(o.example, each.path) for o in free)
            patterns.extend(each.names() if catches else [each.path])
    return patterns


def after_steps(bodies: Bodies) -> list[str]:
    """Functions of `runtime.layers` that the program calls with the model after each optimizer step."""
    found = {OPS[node.op].after_step for body in bodies.values() for node in body.nodes if node.op in OPS}
    return sorted(name for name in found if name)


def tied(bodies: Bodies, chain: tuple[Body, ...], node: Node) -> list[str]:
    """Paths inside a call of the parameters that are those of another call, iterations of repeats written out."""
    found = []
    for name in sorted(tied_names(bodies, chain, node)):
        counts = _counts(bodies, node, name.split("."))
        found.extend(Owned(name, Parameter("", ()), tuple(counts)).names())
    return found


def _counts(bodies: Bodies, node: Node, parts: list[str]) -> Iterator[int]:
    for part in parts:
        if part == ANY:
            yield node.count
        elif node.body is not None:
            node = next((n for n in bodies[node.body].nodes if n.label == part), node)
