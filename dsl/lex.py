"""Text -> raw tokens: one regular expression; what cannot be read is reported and stands as BAD."""

from __future__ import annotations

import re
from typing import NamedTuple

from .diagnostics import Fix, Sink
from .source import Source, Span

Payload = int | float | str | bool | None


class Token(NamedTuple):
    """A terminal of the grammar with its place; `payload` is its value (`unit` that of a number)."""

    kind: str
    start: int
    end: int
    payload: Payload = None
    unit: str | None = None


_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\f]+|\#[^\n]*)
    | (?P<newline>\r?\n)
    | (?P<word>[^\W\d]\w*(?:\.\w+)*)
    | (?P<number>(?P<digits>[0-9]+(?:_[0-9]+)*(?:\.[0-9]+(?:_[0-9]+)*)?(?:[eE][+-]?[0-9]+)?)
        (?P<unit>%|[ \t]*(?!(?:as|share|and|or|not|if|else)\b)[^\W\d_]+(?:/s\b)?(?![\w.(])(?![ \t]*(?::|=(?!=))))?)
    | (?P<string>"(?:[^"\\\r\n]|\\[^\r\n])*"?)
    | (?P<punctuation>->|\*\*|//|==|!=|<=|>=|[-+*/%<>=:,(){}\[\]])
    | (?P<quoted>'[^'\r\n]*'?|[“”„][^“”"\r\n]*[“”"]?)
    | (?P<point>\.[0-9]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_PUNCTUATION = {
    "->": "ARROW", "=": "EQUAL", ":": "COLON", ",": "COMMA", "(": "LPAR", ")": "RPAR", "[": "LSQB", "]": "RSQB",
    "{": "LBRACE", "}": "RBRACE", "+": "SIGN", "-": "SIGN",
}  # fmt: skip

# Characters that look or act like one of the language; typed by habit, pasted from a document.
_LOOKALIKES = {
    "：": ":", "，": ",", "；": ",", ";": ",", "（": "(", "）": ")", "［": "[", "］": "]", "｛": "{", "｝": "}",
    "＝": "=", "−": "-", "–": "-", "—": "-", "－": "-", "＋": "+", "×": "*", "＊": "*", "÷": "/", "／": "/", "％": "%",
    "＜": "<", "＞": ">", "≤": "<=", "≥": ">=", "≠": "!=", "→": "->", "^": "**",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u3000": " ", "\u2028": "\n", "\u2029": "\n",
    "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "",
}  # fmt: skip

_HINTS = {
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`",
    "\\": "a statement goes on over several lines inside `( )` or `[ ]`",
    "\0": "save the file as UTF-8 text",
    "\r": "end lines with a line feed",
    ".": "a path such as `data.vocab` has no spaces in it",
    "@": "`extern op` brings in code of your own",
    "$": "`let name = value` names a constant",
}

_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}
_LONGEST_NUMBER = 40


def scan(source: Source, sink: Sink) -> list[Token]:
    """The tokens of a text with NEWLINE among them; keywords are still WORD."""
    tokens: list[Token] = []
    text = source.text
    start = 1 if text.startswith("\ufeff") else 0
    for match in _TOKEN.finditer(text, start):
        kind = match.lastgroup
        begin, end = match.span()
        if kind == "space":
            continue
        if kind == "word":
            tokens.append(_word(source, sink, match[0], begin, end))
        elif kind == "punctuation":
            tokens.append(Token(_PUNCTUATION.get(match[0], "OPERATOR"), begin, end, match[0]))
        elif kind == "newline":
            tokens.append(Token("NEWLINE", begin, end))
        elif kind == "number":
            tokens.append(_number(source, sink, match))
        elif kind == "string":
            tokens.append(_string(source, sink, match[0], begin, end))
        else:
            tokens += _odd(source, sink, match[0], begin, end)
    return tokens


def _word(source: Source, sink: Sink, text: str, start: int, end: int) -> Token:
    if text.isascii():
        return Token("WORD", start, end, text)
    import unicodedata

    odd = next(char for char in text if not char.isascii())
    name = unicodedata.name(odd, "unnamed").lower()
    where = start + text.index(odd)
    sink.error(
        "E0102",
        f"name `{text}` has a character that is not an ASCII letter: `{odd}` (U+{ord(odd):04X}, {name})",
        Span(source, where, where + 1),
        "write names with the letters a to z, digits and `_`",
    )
    return Token("BAD", start, end)


def _number(source: Source, sink: Sink, match: re.Match[str]) -> Token:
    digits, unit = match["digits"], match["unit"]
    start, end = match.span()
    if len(digits) > _LONGEST_NUMBER:
        sink.error(
            "E0106",
            f"number of {len(digits)} characters; the limit is {_LONGEST_NUMBER}",
            Span(source, start, start + len(digits)),
            "write it with an exponent, such as `1e12`",
        )
        return Token("BAD", start, end)
    is_float = "." in digits or "e" in digits or "E" in digits
    value: int | float = float(digits) if is_float else int(digits)
    if value == float("inf"):
        sink.error(
            "E0106",
            f"number `{digits}` is larger than a float can hold",
            Span(source, start, start + len(digits)),
            "the largest is about 1.8e308",
        )
        return Token("BAD", start, end)
    return Token("NUMBER", start, end, value, unit.strip() if unit else None)


def _string(source: Source, sink: Sink, text: str, start: int, end: int) -> Token:
    if len(text) < 2 or not text.endswith('"') or _ends_escaped(text):
        sink.error(
            "E0103",
            "string is not closed on its line",
            Span(source, start, end),
            'end it with `"`; a string is one line',
        )
        return Token("BAD", start, end)
    inner = text[1:-1]
    return Token("STRING", start, end, _unescape(source, sink, inner, start + 1) if "\\" in inner else inner)


def _ends_escaped(text: str) -> bool:
    """Whether the last quote belongs to an escape: `"abc\\"`."""
    body = text[:-1]
    return (len(body) - len(body.rstrip("\\"))) % 2 == 1


def _unescape(source: Source, sink: Sink, inner: str, start: int) -> str:
    parts: list[str] = []
    at = 0
    while at < len(inner):
        if inner[at] != "\\":
            parts.append(inner[at])
            at += 1
            continue
        char = inner[at + 1]
        if char not in _ESCAPES:
            where = Span(source, start + at, start + at + 2)
            sink.error(
                "E0107",
                f"unknown escape `\\{char}` in a string",
                where,
                'known are \\" \\\\ \\n \\t; a backslash itself is `\\\\`',
                fix=Fix(where, "\\\\" + char, safe=False),
            )
        parts.append(_ESCAPES.get(char, char))
        at += 2
    return "".join(parts)


def _odd(source: Source, sink: Sink, text: str, start: int, end: int) -> list[Token]:
    """What is no token of the language: reported, and read as what was meant where that is plain."""
    span = Span(source, start, end)
    if text[0] == ".":
        if len(text) == 1:
            return _stray(sink, text, span)
        fix = Fix(span, "0" + text)
        sink.error("E0106", f"number `{text}` starts with a point", span, f"write `0{text}`", fix=fix)
        return [Token("NUMBER", start, end, float(text) if len(text) <= _LONGEST_NUMBER else 0.0)]
    if text[0] in "'“”„":
        return [_quoted(sink, text, span)]
    if text in _LOOKALIKES:
        return _lookalike(sink, text, span)
    return _stray(sink, text, span)


def _quoted(sink: Sink, text: str, span: Span) -> Token:
    closed = len(text) > 1 and text[-1] in "'“”\""
    inner = text[1:-1] if closed else text[1:]
    fix = Fix(span, f'"{inner}"') if closed and '"' not in inner and "\\" not in inner else None
    message = f"string in {'single' if text[0] == chr(39) else 'typographic'} quotes"
    sink.error("E0104", message, span, 'strings are written with straight double quotes: `"..."`', fix=fix)
    return Token("STRING" if closed else "BAD", span.start, span.end, inner)


def _lookalike(sink: Sink, text: str, span: Span) -> list[Token]:
    import unicodedata

    meant = _LOOKALIKES[text]
    name = unicodedata.name(text, "control character").lower()
    shown = "" if text.isspace() or not text.isprintable() else f"`{text}` "
    change = f"write `{meant}`" if meant.strip() else "replace it with a plain space" if meant else "delete it"
    sink.error("E0101", f"character {shown}(U+{ord(text):04X}, {name})", span, change, fix=Fix(span, meant))
    if not meant.strip():
        return [Token("NEWLINE", span.start, span.end)] if meant == "\n" else []
    return [Token(_PUNCTUATION.get(meant, "OPERATOR"), span.start, span.end, meant)]


def _stray(sink: Sink, text: str, span: Span) -> list[Token]:
    # An undecodable byte was reported when the file was read.
    if text != "\ufffd":
        shown = f"`{text}`" if text.isprintable() else f"U+{ord(text):04X}"
        sink.error("E0101", f"character {shown} is not part of the language", span, _HINTS.get(text))
    return [Token("BAD", span.start, span.end)]
