"""Raw tokens -> tokens of the grammar: brackets balanced, newlines made separators, keywords told from names."""

from __future__ import annotations

from dataclasses import dataclass, field

from .diagnostics import Fix, Label, Sink
from .lex import Token
from .source import Source, Span

MAX_NESTING = 40

_CLOSES = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
_CLOSERS = frozenset(_CLOSES.values())
_TEXT = {"LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "LBRACE": "{", "RBRACE": "}"}
_STATEMENT_WORDS = {
    "dsk": "DSK", "import": "IMPORT", "let": "LET", "profile": "PROFILE", "block": "BLOCK", "forward": "FORWARD",
    "extern": "EXTERN", "repeat": "REPEAT", "if": "IF", "else": "ELSE", "return": "RETURN", "loss": "OBJECTIVE",
    "metric": "OBJECTIVE", "exit": "OBJECTIVE",
}  # fmt: skip
_CONSTANTS = {"true": True, "false": False, "none": None}
_VALUE_ENDS = frozenset({"NAME", "NUMBER", "STRING", "CONSTANT", "BAD", "RPAR", "RSQB"})
_LINE_GOES_ON = frozenset({"COMMA", "LPAR", "LSQB", "OPERATOR", "SIGN", "EQUAL", "COLON"})


@dataclass
class _Edits:
    """Repairs of the brackets: tokens to leave out, to replace, and closers to put before a token."""

    dropped: set[int] = field(default_factory=set)
    replaced: dict[int, Token] = field(default_factory=dict)
    inserted: dict[int, list[str]] = field(default_factory=dict)


def arrange(source: Source, tokens: list[Token], sink: Sink) -> list[Token] | None:
    """The tokens for the parser, brackets and braces balanced; None when the nesting is too deep."""
    edits = _balance(source, tokens, sink)
    if edits is None:
        return None
    if edits.dropped or edits.replaced or edits.inserted:
        tokens = _apply(tokens, edits)
    return _separate(tokens, len(source.text))


def _balance(source: Source, tokens: list[Token], sink: Sink) -> _Edits | None:
    edits = _Edits()
    stack: list[int] = []
    for index, token in enumerate(tokens):
        kind = token.kind
        if kind in _CLOSES:
            if kind == "LBRACE":
                _close_brackets(source, tokens, stack, index, edits, sink)
            stack.append(index)
            if len(stack) > MAX_NESTING:
                span = Span(source, token.start, token.end)
                sink.error("E0110", f"brackets are nested more than {MAX_NESTING} deep", span, "name a part with `=`")
                return None
        elif kind in _CLOSERS:
            if kind == "RBRACE":
                _close_brackets(source, tokens, stack, index, edits, sink)
            _close(source, tokens, stack, index, edits, sink)
    _close_brackets(source, tokens, stack, len(tokens), edits, sink)
    if stack:
        _close_braces(source, tokens, stack, edits, sink)
    return edits


def _close(source: Source, tokens: list[Token], stack: list[int], index: int, edits: _Edits, sink: Sink) -> None:
    """A closing bracket meets the innermost open one; the wrong kind is read as the right one."""
    token = tokens[index]
    span = Span(source, token.start, token.end)
    if not stack or (token.kind != "RBRACE" and tokens[stack[-1]].kind == "LBRACE"):
        text = _TEXT[token.kind]
        sink.error("E0105", f"`{text}` closes nothing", span, "remove it", fix=Fix(span, "", safe=False))
        edits.dropped.add(index)
        return
    opener = tokens[stack.pop()]
    wanted = _CLOSES[opener.kind]
    if token.kind != wanted:
        sink.error(
            "E0105",
            f"`{_TEXT[opener.kind]}` is closed by `{_TEXT[token.kind]}`",
            span,
            f"write `{_TEXT[wanted]}`",
            (Label(Span(source, opener.start, opener.end), "opened here"),),
            Fix(span, _TEXT[wanted], safe=False),
        )
        edits.replaced[index] = token._replace(kind=wanted)


def _close_brackets(
    source: Source, tokens: list[Token], stack: list[int], stop: int, edits: _Edits, sink: Sink
) -> None:
    """Closes the `(` and `[` that are open at a brace or the end: at the end of the line that they were opened in."""
    unclosed: list[int] = []
    while stack and tokens[stack[-1]].kind != "LBRACE":
        unclosed.append(stack.pop())
    if not unclosed:
        return
    last = unclosed[0]
    place = _end_of_line(tokens, last, stop)
    opener = tokens[unclosed[-1]]
    closers = [_CLOSES[tokens[index].kind] for index in unclosed]
    missing = "".join(_TEXT[kind] for kind in closers)
    end = tokens[place - 1].end
    sink.error(
        "E0105",
        f"`{_TEXT[opener.kind]}` is not closed",
        Span(source, opener.start, opener.end),
        f"add `{missing}`",
        fix=Fix(Span(source, end, end), missing, safe=False),
    )
    edits.inserted.setdefault(place, []).extend(closers)


def _end_of_line(tokens: list[Token], opener: int, stop: int) -> int:
    """Index of the first newline after an opener at which a statement may end; closed brackets are stepped over."""
    depth = 0
    for index in range(opener + 1, stop):
        kind = tokens[index].kind
        depth += (kind in ("LPAR", "LSQB")) - (kind in ("RPAR", "RSQB"))
        if kind == "NEWLINE" and depth <= 0 and tokens[index - 1].kind not in _LINE_GOES_ON:
            return index
    return stop


def _close_braces(source: Source, tokens: list[Token], stack: list[int], edits: _Edits, sink: Sink) -> None:
    """Reports the `{` left open, and closes them where the indentation says, else at the end."""
    guess = _by_indentation(source, tokens)
    if guess is not None and len(stack) == 1:
        opener, place = guess
        label = Label(Span(source, tokens[place].start, tokens[place].end), "a `}` is missing before this line")
        labels: tuple[Label, ...] = (label,)
    else:
        opener, place, labels = stack[-1], len(tokens), ()
    token = tokens[opener]
    end = len(source.text)
    fix = Fix(Span(source, end, end), "}\n", safe=False) if place == len(tokens) else None
    sink.error("E0105", "`{` is not closed", Span(source, token.start, token.end), "add `}`", labels, fix)
    edits.inserted.setdefault(place, []).extend(["RBRACE"] * len(stack))


def _by_indentation(source: Source, tokens: list[Token]) -> tuple[int, int] | None:
    """The first `{` whose content is followed by a line indented no deeper than its own: (opener, that line)."""
    stack: list[tuple[int, int]] = []
    indent = 0
    for index, token in enumerate(tokens):
        if token.kind == "NEWLINE":
            continue
        if index == 0 or tokens[index - 1].kind == "NEWLINE":
            indent = token.start - source.text.rfind("\n", 0, token.start) - 1
            if stack and indent <= stack[-1][1] and token.kind not in _CLOSERS:
                return (stack[-1][0], index) if _stays_open(tokens[index:], len(stack)) else None
        if token.kind == "LBRACE":
            stack.append((index, indent))
        elif token.kind == "RBRACE" and stack:
            stack.pop()
    return None


def _stays_open(tokens: list[Token], depth: int) -> bool:
    """Whether a brace open before these tokens is open after each of them, so that it can be closed before them."""
    for token in tokens:
        depth += (token.kind == "LBRACE") - (token.kind == "RBRACE")
        if depth < 1:
            return False
    return True


def _apply(tokens: list[Token], edits: _Edits) -> list[Token]:
    result: list[Token] = []
    for index in range(len(tokens) + 1):
        for kind in edits.inserted.get(index, ()):
            at = result[-1].end if result else 0
            if kind == "RBRACE":
                result.append(Token("NEWLINE", at, at))
            result.append(Token(kind, at, at))
            if kind == "RBRACE":
                result.append(Token("NEWLINE", at, at))
        if index < len(tokens) and index not in edits.dropped:
            result.append(edits.replaced.get(index, tokens[index]))
    return result


def _separate(tokens: list[Token], end: int) -> list[Token]:
    """Newlines and top-level commas become single _SEP; words become keywords or NAME."""
    result: list[Token] = []
    depth = 0
    last = "LBRACE"  # the start of a file is like the start of a body
    count = len(tokens)
    for index, token in enumerate(tokens):
        kind = token.kind
        if kind == "WORD":
            following = tokens[index + 1] if index + 1 < count else None
            token = _word(token, last, following)
            kind = token.kind
            if kind == "ELSE" and last == "_SEP" and len(result) > 1 and result[-2].kind == "RBRACE":
                result.pop()
        elif kind == "NEWLINE" or (kind == "COMMA" and depth == 0):
            if depth or last in ("_SEP", "LBRACE"):
                continue
            token = Token("_SEP", token.start, token.end, token.payload)
            kind = "_SEP"
        elif kind in ("LPAR", "LSQB"):
            depth += 1
        elif kind in ("RPAR", "RSQB"):
            depth -= 1
        elif kind == "RBRACE" and last == "_SEP":
            result.pop()
        elif kind == "LBRACE" and last == "_SEP" and result[-1].payload is None:
            result.pop()  # no statement starts with `{`, so it may stand on a line of its own
        result.append(token)
        last = kind
    if last == "_SEP":
        result.pop()
    result.append(Token("$END", end, end))
    return result


def _word(token: Token, last: str, following: Token | None) -> Token:
    """What a word is follows from its neighbours, so that every word can still be a name."""
    text = token.payload
    after = following.kind if following else "$END"
    if last in ("_SEP", "LBRACE", "RBRACE", "ELSE") and text in _STATEMENT_WORDS and after not in ("COLON", "EQUAL"):
        return token._replace(kind=_STATEMENT_WORDS[str(text)])
    if last in _VALUE_ENDS:
        if text in ("as", "share"):
            return token._replace(kind=str(text).upper())
        if text in ("and", "or"):
            return token._replace(kind="OPERATOR")
        if text == "from" and after == "STRING":
            return token._replace(kind="FROM")
    elif after != "COLON":
        if text in _CONSTANTS:
            return token._replace(kind="CONSTANT", payload=_CONSTANTS[str(text)])
        if text == "not":
            return token._replace(kind="NOT")
    return token._replace(kind="NAME")
