"""Colours: every token of every spec has a scope that fits, and the shipped grammar is the one of the schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.token import Error
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from dskc.dsl import ast
from dskc.dsl.diagnostics import Sink
from dskc.dsl.highlight import TOKENS, DskLexer
from dskc.dsl.parse import parse
from dskc.dsl.scopes import Scoped, Tokenizer
from dskc.dsl.source import Source, Span
from dskc.dsl.textmate import SHIPPED, grammar, rendered
from dskc.dsl.words import words

ROOT = Path(__file__).resolve().parents[1]
TOUR = ROOT / "tests" / "highlight" / "tour.dsk"
LISTED = [*(ROOT / "examples" / f"{name}.dsk" for name in ("stdlib_gpt", "digits", "dense_100b")), TOUR]
SPECS = [*sorted((ROOT / "examples").glob("*.dsk")), *sorted((ROOT / "dsl" / "std").glob("*.dsk")), TOUR]
TOKENIZER = Tokenizer(grammar())

each_spec = pytest.mark.parametrize("file", SPECS, ids=lambda file: file.stem)


class ScopesFile(SingleFileSnapshotExtension):
    """One text file per spec; `npm test` in editors/vscode compares VS Code's own tokenizer with the same files."""

    file_extension = "scopes"
    _write_mode = WriteMode.TEXT


def pieces(file: Path) -> list[Scoped]:
    return list(TOKENIZER.tokens(file.read_text(encoding="utf-8")))


def listing(text: str, found: list[Scoped]) -> str:
    """`line:column scopes text` of everything that is not white space."""
    rows = []
    for piece in found:
        if piece.text.strip():
            line, begin = text.count("\n", 0, piece.start) + 1, text.rfind("\n", 0, piece.start) + 1
            rows.append(f"{line}:{piece.start - begin} {' '.join(piece.scopes)} {piece.text.strip()}")
    return "\n".join(rows) + "\n"


def test_the_shipped_grammar_is_current() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == rendered(), "run `make generate`"


@pytest.mark.parametrize("file", LISTED, ids=lambda file: file.stem)
def test_scopes(file: Path, snapshot: SnapshotAssertion) -> None:
    assert listing(file.read_text(encoding="utf-8"), pieces(file)) == snapshot(
        extension_class=ScopesFile, name=file.stem
    )


@each_spec
def test_no_token_is_without_a_scope_or_invalid(file: Path) -> None:
    odd = [piece for piece in pieces(file) if piece.text.strip() and not piece.scopes]
    odd += [piece for piece in pieces(file) if any(scope.startswith("invalid") for scope in piece.scopes)]

    assert not odd


@each_spec
def test_pygments_reads_it_without_errors(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tokens = list(DskLexer(stripnl=False).get_tokens(text))

    assert not [value for token, value in tokens if token in Error]
    assert "".join(value for _, value in tokens) == text


def nodes(value: Any) -> Iterator[Any]:
    """Every node of a tree."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from nodes(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, Span | Source | type):
        yield value
        for field in dataclasses.fields(value):
            yield from nodes(getattr(value, field.name))


def expected(node: Any) -> Iterator[tuple[Span, tuple[str, ...]]]:
    """The place of a node's own words, and the scopes one of which must be there."""
    if isinstance(node, ast.Number):
        yield node.span, ("constant.numeric",)
    elif isinstance(node, ast.Literal):
        yield node.span, ("string.quoted",) if isinstance(node.value, str) else ("constant.language",)
    elif isinstance(node, ast.Call):
        yield node.function.span, ("entity.name.function.call", "entity.name.type.variant", "support.type.variant")
        if node.label_span:
            yield node.label_span, ("entity.name.label",)
    elif isinstance(node, ast.Setting):
        yield node.path_span, ("support.type.property-name", "variable.other.property")
    elif isinstance(node, ast.Argument) and node.name_span:
        yield node.name_span, ("variable.parameter",)
    elif isinstance(node, ast.Binding):
        yield from ((span, ("variable.other.binding",)) for span in node.name_spans)
    elif isinstance(node, ast.Section):
        yield node.name_span, ("keyword.other.section",)
        if node.title_span:
            yield node.title_span, ("entity.name.section",)
    elif isinstance(node, ast.Block):
        yield node.name_span, ("entity.name.function", "storage.type.forward")
    elif isinstance(node, ast.Let):
        yield node.name_span, ("variable.other.constant",)
    elif isinstance(node, ast.Param):
        yield node.span, ("variable.parameter",)
    elif isinstance(node, ast.ScalarType):
        yield node.span, ("storage.type",)
    elif isinstance(node, ast.Extern):
        yield node.name_span, ("entity.name.function",)


@each_spec
def test_scopes_agree_with_the_parser(file: Path) -> None:
    source = Source(str(file), file.read_text(encoding="utf-8"))
    tree = parse(source, sink := Sink())
    assert not sink.found, list(sink.found.values())
    at = {piece.start: piece for piece in pieces(file)}

    checked = [(span, scopes) for node in nodes(tree.body) for span, scopes in expected(node)]
    wrong = []
    for span, scopes in checked:
        piece = at.get(span.start)
        if piece is None or not any(scope.startswith(scopes) for scope in piece.scopes):
            wrong.append((source.text[span.start : span.end], scopes, piece))

    assert len(checked) > 20
    assert not wrong


def innermost(text: str, piece: str) -> str:
    """The innermost scope of the first such piece of a text."""
    return next(p.scopes[-1].removesuffix(".dsk") for p in TOKENIZER.tokens(text) if p.text.strip() == piece)


@pytest.mark.parametrize(
    ("text", "piece", "scope"),
    [
        ("memory { checkpointing: budget(72 GiB) }", "GiB", "keyword.other.unit"),
        ("memory { checkpointing: budget(72GiB) }", "GiB", "keyword.other.unit"),
        ("cluster { b: 450 GB/s }", "GB/s", "keyword.other.unit"),
        ("data { validation: 5% }", "%", "keyword.other.unit"),
        ("let a = 7 % 2", "%", "keyword.operator.arithmetic"),
        ("forward() { repeat 3 as steps { } }", "steps", "entity.name.label"),
        ("precision { compute: bf16 }", "bf16", "support.constant.choice"),
        ("optimizer { lr: 1 }", "lr", "support.type.property-name"),
        ("optimizer { rate_of_learning: 1 }", "rate_of_learning", "variable.other.property"),
        ("schedule { decay: cosine(floor: 1%) }", "cosine", "support.type.variant"),
        ("forward() { x = cosine(y) }", "cosine", "entity.name.function.call"),
        ("optimiser { lr: 1 }", "optimiser", "entity.name.tag.section"),
        ("model m { loss: 3 }", "loss", "variable.other.property"),
        ("forward() { loss f(x) }", "loss", "keyword.control.objective"),
        ("forward() { x = f(from: 3) }", "from", "variable.parameter"),
        ('data { source: text("a\\qb") }', "\\q", "invalid.illegal.escape"),
        ("data { source: 'a' }", "'", "invalid.illegal"),
        ("block f(x: [B, 2 * D]) { return x }\nlet a = 1", "let", "storage.type.let"),
    ],
)
def test_a_word_in_its_place(text: str, piece: str, scope: str) -> None:
    assert innermost(text, piece) == scope


def test_words_come_from_the_schema() -> None:
    known = words()

    assert {"model", "data", "parallel"} <= set(known.sections)
    assert {"lr", "betas", "recover_within", "from"} <= set(known.settings)
    assert {"topk", "budget", "adamw", "bpe"} <= set(known.kinds)
    assert {"bf16", "fp16"} <= set(known.choices)
    assert {"GiB", "GB/s", "min"} <= set(known.units)
    assert len(known.settings) > 80


@given(st.text(alphabet="ab1.{}()[]:=,\"#\\% \n'<-*é", max_size=80) | st.text(max_size=40))
def test_any_text_is_read_to_its_end(text: str) -> None:
    assert "".join(piece.text for piece in TOKENIZER.tokens(text)) == text
    for piece in TOKENIZER.tokens(text):
        assert piece.scopes or not piece.text.strip()


def test_every_scope_has_a_pygments_token() -> None:
    def names(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (v for k, v in value.items() if k == "name" and isinstance(v, str) and v.endswith(".dsk"))
            yield from (name for inner in value.values() for name in names(inner))
        elif isinstance(value, list):
            yield from (name for inner in value for name in names(inner))

    known = tuple(scope for scope, _ in TOKENS)
    assert not [name for name in names(grammar()["repository"]) if not name.startswith(known)]
