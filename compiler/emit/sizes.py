"""Sizes as letters: `query_BHSK` is a tensor of batch, heads, sequence and size of a head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..dims import Dim, Poly, Quotient
from ..node import Body, Tensor
from .text import comment, number

_POOL = "CEFGIJKLMNOPQRTUWXYZAHDV"
_KNOWN = {"B": "batch", "S": "sequence"}


@dataclass
class Sizes:
    """One letter for each size of the model; the same letter is the same size everywhere.

    `parts` maps a size to what one rank of the tensor axis holds of it. The part has the letter of the whole, in
    small where the whole is there as well.
    """

    letters: dict[Dim, str] = field(default_factory=dict)
    meanings: dict[Dim, list[str]] = field(default_factory=dict)
    used: set[Dim] = field(default_factory=set)
    parts: dict[Dim, Dim] = field(default_factory=dict)

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
                size = "" if dim in self.parts.values() and not isinstance(dim, int) else size
                meaning = ", ".join(names) or _KNOWN.get(letter, "" if size else "as given")
                rows.append(comment(f"{letter}  " + (f"{size} ({meaning})" if size and meaning else size or meaning)))
        return rows


def sizes_of(bodies: Sequence[Body], tensor: int = 1) -> Sizes:
    """Letters as the blocks' signatures and settings name them, the model's first; `tensor` ranks share the sizes."""
    sizes = Sizes(parts=_parts(bodies, tensor))
    for body in bodies:
        for node in body.nodes:
            if node.op == "input":
                for dim in node.outputs[0].shape:
                    _symbolic(sizes, dim)
    whole = {dim for body in bodies for node in body.nodes for each in node.outputs for dim in each.shape}
    for body in bodies:
        for letter, dim, meaning in body.legend:
            if dim in whole or dim not in sizes.parts:
                _name(sizes, letter, dim, meaning)
    for dim, letter in [(d, each) for d, each in sizes.letters.items() if d in sizes.parts]:
        _name(sizes, letter.lower(), sizes.parts[dim], _part_of(sizes, dim, letter, tensor))
    for body in bodies:
        for letter, dim, meaning in body.legend:
            if isinstance(dim, int) and dim in sizes.parts and dim not in whole:
                _name(sizes, letter, sizes.parts[dim], f"{meaning or letter} {number(dim)} / tensor {tensor}")
    return sizes


def _parts(bodies: Iterable[Body], tensor: int) -> dict[Dim, Dim]:
    """What one rank holds of the sizes that are split over the tensor axis."""
    parts: dict[Dim, Dim] = {}
    for node in (node for body in bodies for node in body.nodes):
        for output, placement in zip(node.outputs, node.placements, strict=False):
            place = placement.get("tensor")
            if place is not None and place.dim is not None:
                part = output.shape[place.dim]
                parts[_whole(part, tensor)] = part
    return parts


def _whole(part: Dim, tensor: int) -> Dim:
    """The size of which this is the part of one rank."""
    if isinstance(part, Poly) and len(part.terms) == 1:
        ((name, *others), factor) = part.terms[0]
        if isinstance(name, Quotient) and not others and factor == 1 and name.divisor == tensor:
            return name.dividend
    return part * tensor


def _part_of(sizes: Sizes, dim: Dim, letter: str, tensor: int) -> str:
    """`hidden 704 / tensor 4`."""
    if not isinstance(dim, int):
        return f"{letter} / tensor {tensor}"
    return f"{', '.join(sizes.meanings.get(dim, [letter]))} {number(dim)} / tensor {tensor}"


def _symbolic(sizes: Sizes, dim: Dim) -> None:
    name = str(dim)
    if not isinstance(dim, int) and re.fullmatch("[A-Z][A-Za-z]{0,7}", name) and name not in sizes.letters.values():
        sizes.letters.setdefault(dim, name)


def _name(sizes: Sizes, letter: str, dim: Dim, meaning: str) -> None:
    if dim == 1:
        return
    free = letter not in sizes.letters.values() and re.fullmatch("[A-Za-z]{1,8}", letter)
    if dim not in sizes.letters and free:
        sizes.letters[dim] = letter
    names = sizes.meanings.setdefault(dim, [])
    if meaning and (isinstance(dim, int) or dim in sizes.parts.values()) and meaning not in names and len(names) < 3:
        names.append(meaning)
