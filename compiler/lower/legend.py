"""Letters for sizes, so that generated code can name the shape of a tensor: `x_BSD`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from ..dims import Dim, Poly, symbol
from ..node import Body
from .state import State

PREFERRED: Final = {
    "dim": "D",
    "heads": "H",
    "kv_heads": "G",
    "head_dim": "K",
    "hidden": "F",
    "data.vocab": "V",
    "vocab": "V",
    "data.classes": "N",
    "classes": "N",
    "channels": "C",
    "width": "W",
    "experts": "E",
    "latent": "L",
    "patch": "P",
}
MEANING: Final = {"B": "batch", "S": "sequence"}
Row = tuple[str, Dim, str]


def add_legends(state: State) -> None:
    """Gives each body the letters of the sizes that occur in it; a letter means one size in the whole plan."""
    occurring = {name: _sizes(body) for name, body in state.bodies.items()}
    everywhere = set().union(*occurring.values())
    rows = _rows(everywhere, list(_candidates(state)))
    for name, body in state.bodies.items():
        legend = tuple(row for row in rows if row[1] in occurring[name])
        state.bodies[name] = replace(body, legend=legend)


def _sizes(body: Body) -> set[Dim]:
    found = {size for node in body.nodes for tensor in node.outputs for size in tensor.shape}
    return {size for size in found if size != 1}


def _candidates(state: State) -> Iterator[tuple[str, Dim]]:
    """Names of sizes: symbols, settings and constants of the model, then values of blocks, outermost first."""
    for name in MEANING:
        yield name, symbol(name)
    for name in ("vocab", "classes"):
        value = getattr(state.spec.data, name)
        if isinstance(value, int):
            yield f"data.{name}", value
    counted = {node.count for body in state.bodies.values() for node in body.nodes if node.op == "repeat"}
    for name, constant in state.spec.constants.items():
        if isinstance(constant, int) and not isinstance(constant, bool) and constant not in counted:
            yield name, constant
    for body in reversed(state.scalars):
        yield from ((name, size) for name, size in state.scalars[body] if isinstance(size, int | Poly))


def _rows(occurring: set[Dim], candidates: list[tuple[str, Dim]]) -> tuple[Row, ...]:
    letters: dict[str, Dim] = {}
    rows: list[Row] = []
    for name, size in candidates:
        if size not in occurring or any(row[1] == size for row in rows) or (isinstance(size, int) and size < 2):
            continue
        letter = _letter(name, letters)
        if letter is not None:
            letters[letter] = size
            rows.append((letter, size, MEANING.get(name, name)))
    return tuple(rows)


def _letter(name: str, taken: Mapping[str, Dim]) -> str | None:
    own = [char for char in name.rpartition(".")[2].upper() if char.isascii() and char.isalpha()]
    reserved = [letter for letter in MEANING if letter != name]
    wanted = [PREFERRED.get(name, ""), *own]
    return next((letter for letter in wanted if letter and letter not in taken and letter not in reserved), None)
