"""Sizes as letters: `query_BHSK` is a tensor of batch, heads, sequence and size of a head."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..dims import Dim
from ..node import Body, Tensor
from .text import comment, number

_POOL = "CEFGIJKLMNOPQRTUWXYZAHDV"
_KNOWN = {"B": "batch", "S": "sequence"}


@dataclass
class Sizes:
    """One letter for each size of the model; the same letter is the same size everywhere."""

    letters: dict[Dim, str] = field(default_factory=dict)
    meanings: dict[Dim, list[str]] = field(default_factory=dict)
    used: set[Dim] = field(default_factory=set)

    def suffix(self, tensor: Tensor) -> str:
        """`_BSD` for [B, S, 256]; nothing for a single number."""
        text = "".join(self._letter(dim) for dim in tensor.shape)
        return f"_{text}" if text else ""

    def shape(self, tensor: Tensor) -> str:
        """`[B, S, D]` for people."""
        return "[" + ", ".join(self._letter(dim) for dim in tensor.shape) + "]"

    def _letter(self, dim: Dim) -> str:
        if dim == 1:
            return "1"
        self.used.add(dim)
        if dim not in self.letters:
            taken = set(self.letters.values())
            free = (letter for letter in _POOL if letter not in taken)
            self.letters[dim] = next(free, str(dim) if isinstance(dim, int) else f"N{len(taken)}")
        return self.letters[dim]

    def legend(self) -> list[str]:
        """What each letter in use stands for."""
        rows = []
        for dim, letter in self.letters.items():
            if dim in self.used and not (isinstance(dim, int) and letter == str(dim)):
                names = self.meanings.get(dim, [])
                size = number(dim) if isinstance(dim, int) else str(dim) if str(dim) != letter else ""
                meaning = ", ".join(names) or _KNOWN.get(letter, "" if size else "as given")
                rows.append(comment(f"{letter}  " + (f"{size} ({meaning})" if size and meaning else size or meaning)))
        return rows


def sizes_of(bodies: Iterable[Body]) -> Sizes:
    """Letters as the blocks' signatures and settings name them, the model's first."""
    sizes = Sizes()
    for body in bodies:
        for node in body.nodes:
            if node.op == "input":
                for dim in node.outputs[0].shape:
                    _symbolic(sizes, dim)
    for body in bodies:
        for letter, dim, meaning in body.legend:
            _name(sizes, letter, dim, meaning)
    return sizes


def _symbolic(sizes: Sizes, dim: Dim) -> None:
    name = str(dim)
    if not isinstance(dim, int) and re.fullmatch("[A-Z][A-Za-z]{0,7}", name) and name not in sizes.letters.values():
        sizes.letters.setdefault(dim, name)


def _name(sizes: Sizes, letter: str, dim: Dim, meaning: str) -> None:
    if dim == 1:
        return
    free = letter not in sizes.letters.values() and re.fullmatch("[A-Z][A-Za-z]{0,7}", letter)
    if dim not in sizes.letters and free:
        sizes.letters[dim] = letter
    names = sizes.meanings.setdefault(dim, [])
    if isinstance(dim, int) and meaning and meaning not in names and len(names) < 3:
        names.append(meaning)
