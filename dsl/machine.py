"""The LALR(1) machine: runs the tables of grammar.json over tokens; what does not fit goes to `Recovery`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from .lex import Token
from .source import Source, Span
from .tree import Builder


@cache
def tables() -> dict[str, Any]:
    """The generated tables (see tables.py)."""
    text = Path(__file__).with_name("grammar.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


class Machine:
    """Stacks of states and values; `values[i]` spans `starts[i]` to `ends[i]`."""

    def __init__(self, source: Source, builder: Builder, loaded: dict[str, Any]) -> None:
        self.source = source
        self.actions: list[dict[str, int]] = loaded["states"]
        self.goto: list[dict[str, int]] = loaded["goto"]
        self.end: int = loaded["end"]
        self.messages: dict[str, dict[str, int]] = loaded["messages"]
        self._settling: list[int] = loaded["settle"]
        self.rules = [
            (origin, length, kept, builder.action(name) if name and name[0] != "_" else None)
            for origin, (name, length, kept) in zip(loaded["origins"], loaded["rules"], strict=True)
        ]
        # Rules of one part that make no node: the value stays, only the state changes.
        self._renames = [length == 1 and kept == [0] and action is None for _, length, kept, action in self.rules]
        self.states: list[int] = [loaded["start"]]
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.ends: list[int] = []

    def run(self, tokens: list[Token], position: int) -> int:
        """Feeds tokens from `position` on; returns the position that does not fit, or -1 at the end of the text."""
        states, actions, goto, rules, renames = self.states, self.actions, self.goto, self.rules, self._renames
        values, starts, ends = self.values, self.starts, self.ends
        while True:
            token = tokens[position]
            kind, start, end = token[:3]
            action = actions[states[-1]].get(kind)
            while action is not None and action < 0:
                if renames[~action]:
                    states.pop()
                    states.append(goto[states[-1]][rules[~action][0]])
                else:
                    self.reduce(~action)
                action = actions[states[-1]].get(kind)
            if action is None:
                return -1 if states[-1] == self.end else position
            states.append(action)
            values.append(token)
            starts.append(start)
            ends.append(end)
            position += 1

    def shift(self, state: int, token: Token) -> None:
        """Puts a token on the stacks."""
        self.states.append(state)
        self.values.append(token)
        self.starts.append(token[1])
        self.ends.append(token[2])

    def reduce(self, rule: int) -> None:
        """Replaces the parts of a rule by its value; parts of rules named `_...` are spliced into the rule above."""
        origin, length, kept, action = self.rules[rule]
        if length:
            parts = self.values[-length:]
            start, end = self.starts[-length], self.ends[-1]
            del self.values[-length:], self.states[-length:], self.starts[-length:], self.ends[-length:]
        else:
            parts = []
            start = end = self.ends[-1] if self.ends else 0
        value: Any = _splice(parts, kept, action is None)
        if action is not None:
            value = action(value, Span(self.source, start, end))
        self.states.append(self.goto[self.states[-1]][origin])
        self.values.append(value)
        self.starts.append(start)
        self.ends.append(end)

    def settle(self) -> None:
        """Ends what can only end here, so that one state stands for all the ways to come to it."""
        while (rule := self._settling[self.states[-1]]) >= 0:
            self.reduce(rule)

    def pop(self) -> tuple[Any, int, int]:
        """Takes the topmost value and its place off the stacks."""
        self.states.pop()
        return self.values.pop(), self.starts.pop(), self.ends.pop()


def _splice(parts: list[Any], kept: list[int], reuse: bool) -> list[Any]:
    if reuse and kept and kept[0] == 0 and type(parts[0]) is list:
        flat = parts[0]
        kept = kept[1:]
    else:
        flat = []
    for index in kept:
        part = parts[index] if index >= 0 else None
        if type(part) is list:
            flat += part
        else:
            flat.append(part)
    return flat
