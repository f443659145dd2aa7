"""The Pygments lexer of .dsk files: the TextMate grammar with its scopes as Pygments tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import ClassVar

from pygments.lexer import Lexer
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, Punctuation, String, Text, _TokenType

from .scopes import Tokenizer
from .textmate import grammar

# The first entry that a scope starts with decides.
TOKENS: tuple[tuple[str, _TokenType], ...] = (
    ("comment", Comment.Single),
    ("string", String.Double),
    ("constant.character.escape", String.Escape),
    ("constant.other.placeholder", String.Interpol),
    ("constant.numeric", Number),
    ("constant.language", Keyword.Constant),
    ("support.constant", Name.Constant),
    ("keyword.other.section", Keyword.Namespace),
    ("keyword.other.unit", Keyword.Type),
    ("keyword.operator.logical", Operator.Word),
    ("keyword.operator", Operator),
    ("keyword", Keyword),
    ("storage.type", Keyword.Declaration),
    ("storage.modifier", Keyword.Declaration),
    ("entity.name.function.call", Name.Function),
    ("entity.name.function", Name.Function),
    ("entity.name.label", Name.Label),
    ("entity.name.namespace", Name.Namespace),
    ("entity.name.section", Name.Class),
    ("entity.name", Name.Class),
    ("support.type.variant", Name.Builtin),
    ("support.type.property-name", Name.Attribute),
    ("variable.other.property", Name.Attribute),
    ("variable.parameter", Name.Attribute),
    ("variable.other.dimension", Name.Variable),
    ("variable", Name),
    ("punctuation", Punctuation),
    ("invalid", Error),
)


class DskLexer(Lexer):
    """Lexer of the training specs that dskc compiles."""

    name: ClassVar[str] = "dsk"
    aliases: ClassVar[list[str]] = ["dsk"]
    filenames: ClassVar[list[str]] = ["*.dsk"]
    mimetypes: ClassVar[list[str]] = ["text/x-dsk"]

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """Position, token and text, in order."""
        for piece in _tokenizer().tokens(text):
            yield piece.start, token_of(piece.scopes), piece.text


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer(grammar())


def token_of(scopes: tuple[str, ...]) -> _TokenType:
    """The Pygments token of the innermost scope; text without a scope is white space."""
    if not scopes:
        return Text
    return next(token for scope, token in TOKENS if scopes[-1].startswith(scope))
