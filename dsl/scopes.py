"""Text and a TextMate grammar -> tokens with their scopes, by the rules that editors follow.

Covers what grammar() uses: match, begin/end, captures, include. https://macromates.com/manual/en/language_grammars
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

Rule = dict[str, Any]


class Scoped(NamedTuple):
    """A piece of text, where it starts, and its scopes, outermost first (the grammar's own is left out)."""

    start: int
    text: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class _Open:
    """A region that has begun: its rule and the scopes inside it."""

    rule: Rule
    scopes: tuple[str, ...]


class Tokenizer:
    """Reads texts by one grammar."""

    def __init__(self, grammar: Rule) -> None:
        self._repository: dict[str, Rule] = grammar["repository"]
        self._flat: dict[int, list[Rule]] = {}
        self._root: Rule = {"patterns": grammar["patterns"]}

    def tokens(self, text: str) -> Iterator[Scoped]:
        """Every character of a text, in order, in pieces of equal scopes."""
        stack = [_Open(self._root, ())]
        start = 0
        for line in text.splitlines(keepends=True):
            for at, piece, scopes in self._line(line, stack):
                yield Scoped(start + at, piece, scopes)
            start += len(line)

    def _line(self, line: str, stack: list[_Open]) -> Iterator[Scoped]:
        at = 0
        while True:
            found = self._next(line, at, stack[-1])
            if not found:
                break
            match, rule, closes = found
            if match.start() > at:
                yield Scoped(at, line[at : match.start()], stack[-1].scopes)
            scopes = stack[-1].scopes if closes else (*stack[-1].scopes, *_names(rule))
            yield from _pieces(match, scopes, _captures(rule, closes))
            if closes:
                stack.pop()
            elif "begin" in rule:
                stack.append(_Open(rule, scopes))
            at = match.end()
        if at < len(line):
            yield Scoped(at, line[at:], stack[-1].scopes)

    def _next(self, line: str, at: int, top: _Open) -> tuple[re.Match[str], Rule, bool] | None:
        """The leftmost match from `at` on, of equals the first listed; the end of the open region comes first."""
        best: tuple[re.Match[str], Rule, bool] | None = None
        if "end" in top.rule and (match := _compiled(top.rule["end"]).search(line, at)):
            best = match, top.rule, True
        for rule in self._patterns(top.rule):
            match = _compiled(rule.get("match") or rule["begin"]).search(line, at)
            if match and (best is None or match.start() < best[0].start()):
                best = match, rule, False
                if match.start() == at:
                    break
        return best

    def _patterns(self, rule: Rule) -> list[Rule]:
        """The rules inside a rule with every `include` followed."""
        if id(rule) not in self._flat:
            self._flat[id(rule)] = list(self._expand(rule, frozenset()))
        return self._flat[id(rule)]

    def _expand(self, rule: Rule, within: frozenset[int]) -> Iterator[Rule]:
        for inner in rule.get("patterns", ()):
            if "include" in inner:
                inner = self._repository[inner["include"].removeprefix("#")]
            if "match" in inner or "begin" in inner:
                yield inner
            elif id(inner) not in within:
                yield from self._expand(inner, within | {id(inner)})


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _names(rule: Rule) -> tuple[str, ...]:
    return (rule["name"],) if "name" in rule else ()


def _captures(rule: Rule, closes: bool) -> Rule:
    if "match" in rule:
        return rule.get("captures", {})  # type: ignore[no-any-return]
    return rule.get("endCaptures" if closes else "beginCaptures", {})  # type: ignore[no-any-return]


def _pieces(match: re.Match[str], scopes: tuple[str, ...], captures: Rule) -> Iterator[Scoped]:
    """The text of a match, cut at its captured groups; groups do not nest here."""
    if "0" in captures:
        scopes = (*scopes, captures["0"]["name"])
    text, at = match.string, match.start()
    for number in range(1, (match.re.groups or 0) + 1):
        start, end = match.span(number)
        if str(number) not in captures or start == end:
            continue
        if start > at:
            yield Scoped(at, text[at:start], scopes)
        yield Scoped(start, text[start:end], (*scopes, captures[str(number)]["name"]))
        at = end
    if at < match.end():
        yield Scoped(at, text[at : match.end()], scopes)
