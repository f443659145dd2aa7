"""`python -m dskc.dsl.tables`: grammar.lark -> grammar.json, so that a run of `dskc` need not build the parser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diagnostics import Sink
from .expected import MESSAGES
from .layout import arrange
from .lex import scan
from .machine import Machine
from .source import Source
from .tree import Builder

if TYPE_CHECKING:
    from lark import Lark
    from lark.grammar import Rule

GRAMMAR = Path(__file__).with_name("grammar.lark")
TABLES = Path(__file__).with_name("grammar.json")

_PLACES = tuple(
    (top + before, end)
    for top, end in (("", "\n"), ("s {\n ", "\n}\n"))
    for before in ("", "k: 1\n ", "k: 1\n l: 2\n ")
)


def build() -> dict[str, Any]:
    """The LALR(1) tables of the grammar.

    `states[s]` maps a token to n >= 0 (shift and go to state n) or -r-1 (reduce by rule r); `goto[s]` maps a rule name
    to a state. A rule is [name, length, which of its parts to keep (-1: absent)].
    """
    parser = _lark()
    table = parser.parser.parser._parse_table
    order = _numbering(table)
    rules = [rule for rule in parser.rules if not rule.origin.name.startswith("$")]
    number = {rule: index for index, rule in enumerate(rules)}
    terminals = {symbol.name for rule in rules for symbol in rule.expansion if symbol.is_term} | {"$END"}
    states: list[dict[str, int]] = []
    goto: list[dict[str, int]] = []
    for state in order:
        actions: dict[str, int] = {}
        jumps: dict[str, int] = {}
        for symbol, (action, target) in sorted(table.states[state].items()):
            if str(action) == "Reduce":
                actions[symbol] = -number[target] - 1
            else:
                (actions if symbol in terminals else jumps)[symbol] = order[target]
        states.append(actions)
        goto.append(jumps)
    tables = {
        "start": order[table.start_states["file"]],
        "end": order[table.end_states["file"]],
        "rules": [[_name(rule), len(rule.expansion), _kept(rule)] for rule in rules],
        "origins": [rule.origin.name for rule in rules],
        "states": states,
        "goto": goto,
        "settle": [_settling(actions, rules) for actions in states],
        "messages": {},
    }
    tables["messages"] = _messages(tables)
    return tables


def render(tables: dict[str, Any]) -> str:
    """The tables as text, one state or rule per line so that changes can be reviewed."""
    parts = []
    for key, value in tables.items():
        if isinstance(value, list):
            lines = ",\n  ".join(json.dumps(item, separators=(",", ":")) for item in value)
            parts.append(f' "{key}": [\n  {lines}\n ]')
        elif isinstance(value, dict):
            entries = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f' "{key}": {{\n  {entries}\n }}')
        else:
            parts.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lark() -> Lark:
    from lark import Lark
    from lark.lexer import Lexer

    class Elsewhere(Lexer):
        """Tokens come from lex.py; lark only builds the tables."""

        def __init__(self, conf: Any) -> None:
            """Takes what lark passes."""

        def lex(self, *_: Any) -> Any:
            """Never called."""
            raise AssertionError("lark only builds the tables")

    return Lark(
        GRAMMAR.read_text(encoding="utf-8"), start="file", parser="lalr", lexer=Elsewhere, maybe_placeholders=True
    )


def _numbering(table: Any) -> dict[Any, int]:
    """States numbered in the order of a walk from the start, so that the same grammar gives the same file."""
    order: dict[Any, int] = {}
    queue = [table.start_states["file"]]
    while queue:
        state = queue.pop(0)
        if state in order:
            continue
        order[state] = len(order)
        queue += [target for _, (action, target) in sorted(table.states[state].items()) if str(action) == "Shift"]
    return order


def _settling(actions: dict[str, int], rules: list[Rule]) -> int:
    """The only rule that a state can end, or -1; lists of statements stay open, so that one can be taken off them."""
    reductions = {-action - 1 for action in actions.values() if action < 0}
    if len(reductions) != 1:
        return -1
    rule = reductions.pop()
    name = rules[rule].origin.name
    return -1 if name == "file" or name.startswith("__file_star") else rule


def _messages(tables: dict[str, Any]) -> dict[str, dict[str, int]]:
    """For each state, the message of each token that its examples lead to; "*": of any other token."""
    table: dict[str, dict[str, int]] = {}
    for index, message in enumerate(MESSAGES):
        for example in message.examples:
            for prefix, suffix in _PLACES:
                state, kind = _misfit(tables, prefix + example + suffix)
                known = table.setdefault(str(state), {})
                known.setdefault(kind, index)
                if message.others:
                    known.setdefault("*", index)
    return {state: dict(sorted(table[state].items())) for state in sorted(table, key=int)}


def _misfit(tables: dict[str, Any], text: str) -> tuple[int, str]:
    source = Source("example", text)
    tokens = arrange(source, scan(source, Sink()), Sink())
    assert tokens is not None
    machine = Machine(source, Builder(source, Sink()), tables)
    position = machine.run(tokens, 0)
    if position < 0:
        raise ValueError(f"example `{text}` is no misfit")
    machine.settle()
    return machine.states[-1], tokens[position].kind


def _name(rule: Rule) -> str:
    return "" if rule.options.expand1 and not rule.alias else rule.alias or rule.origin.name


def _kept(rule: Rule) -> list[int]:
    """Positions of the parts that reach the tree, -1 where an optional part is absent."""
    from lark.grammar import Terminal

    kept: list[int] = []
    position = 0
    flags = rule.options.empty_indices or (False,) * len(rule.expansion)
    for absent in flags:
        if absent:
            kept.append(-1)
            continue
        symbol = rule.expansion[position]
        if not (isinstance(symbol, Terminal) and symbol.filter_out):
            kept.append(position)
        position += 1
    return kept


if __name__ == "__main__":
    TABLES.write_text(render(build()), encoding="utf-8")
