"""The body that is being built: its names, its nodes and its labels."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...dsl.source import Span
from ...dsl.spec import Scope as Visible
from ..node import Node, Tensor, Value
from .values import POISON, Meaning, Ref

VARIABLES_TAKEN = frozenset(
    {"self", "torch", "F", "nn", "layers", "range", "len", "int", "float", "bool", "tuple", "dict", "list", "super"}
    | {"Tensor", "counted", "sum", "min", "max", "print", "zip", "enumerate"}
)
"""Names that generated code uses itself."""


@dataclass
class Scope:
    """Names, nodes and labels of one body; that of a repeat has the surrounding one as its parent.

    `labelled` are their nodes. `visible` is what the text of the block can name beside its own parameters and bindings.
    `missing` says why a name that the text binds has no value here; `owned` are the places of the labels of calls
    with parameters, `explicit` those of them that follow `as`. `bound` are the names of several results of a node.
    """

    owner: str
    visible: Visible
    parent: Scope | None = None
    names: dict[str, Meaning] = field(default_factory=dict)
    missing: dict[str, tuple[Span, str]] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    owned: dict[str, Span] = field(default_factory=dict)
    labelled: dict[str, Node] = field(default_factory=dict)
    captured: dict[str, Ref] = field(default_factory=dict)
    explicit: set[str] = field(default_factory=set)
    bound: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _taken: dict[str, int] = field(default_factory=dict)

    @property
    def root(self) -> Scope:
        """The scope of the block that this one is part of."""
        return self if self.parent is None else self.parent.root

    def look_up(self, name: str, span: Span) -> Meaning | None:
        """What a local name stands for, or None; a tensor from outside a repeat becomes an input of its body."""
        if name in self.names:
            return self.names[name]
        if self.parent is None:
            return None
        outer = self.parent.look_up(name, span)
        return self.capture(name, outer, span) if isinstance(outer, Ref) else outer

    def peek(self, name: str) -> Meaning | None:
        """What a local name stands for here or around, without bringing it into this body."""
        return self.names[name] if name in self.names else self.parent.peek(name) if self.parent else None

    def binds(self, name: str) -> bool:
        """Whether the name is local: bound here or around."""
        return name in self.names or (self.parent is not None and self.parent.binds(name))

    def capture(self, name: str, outer: Ref, span: Span) -> Ref:
        """The input that brings a tensor from outside into the body of a repeat."""
        if name not in self.captured:
            self.captured[name] = self.input(name, outer.tensor, span)
        return self.captured[name]

    def input(self, name: str, tensor: Tensor, span: Span) -> Ref:
        """Adds an input of the body."""
        return Ref((self.add(name, "input", (), (tensor,), span).name, 0), tensor)

    def add(
        self, name: str, op: str, inputs: tuple[Value, ...], outputs: tuple[Tensor, ...], span: Span, **rest: Any
    ) -> Node:
        """Appends a node; its name is made unique and fit for Python."""
        node = Node(self.unique(name), op, inputs, outputs, span, **rest)
        self.nodes.append(node)
        if node.label is not None:
            self.labelled[node.label] = node
        return node

    def unique(self, name: str) -> str:
        """A variable name like the given one that nothing in this body has yet."""
        first = chosen = variable(name)
        number = self._taken.get(first, 0)
        while chosen in self._taken:
            number += 1
            chosen = f"{first}_{number}"
        self._taken[first] = max(number, 1)
        self._taken.setdefault(chosen, 1)
        return chosen

    def poison(self, names: Iterator[str] | tuple[str, ...]) -> None:
        """Gives names a value that raises no further errors."""
        self.names.update(dict.fromkeys(names, POISON))

    def known(self) -> set[str]:
        """All local names that can be read here."""
        return set(self.names) | (self.parent.known() if self.parent else set())


def variable(name: str) -> str:
    """A Python variable name that generated code can use: keywords and names it needs itself get a `_`."""
    text = name
    if not (name.isascii() and name.isidentifier()):
        text = "_" + "".join(char if char.isascii() and char.isalnum() else "_" for char in name)
    return f"{text}_" if keyword.iskeyword(text) or text in VARIABLES_TAKEN else text
