"""Any text gives a tree and findings, in bounded time, and every format can show them."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dskc.compiler.build import check
from dskc.dsl import ast
from dskc.dsl.diagnostics import Sink
from dskc.dsl.fixes import apply_fixes
from dskc.dsl.parse import MAX_ERRORS, parse
from dskc.dsl.read import decode
from dskc.dsl.render import FORMATS, render
from dskc.dsl.source import Source

ROOT = Path(__file__).parent.parent
SPECS = [path.read_text() for path in sorted((ROOT / "examples").glob("*.dsk"))]
SPECS += [path.read_text(errors="replace") for path in sorted((ROOT / "tests" / "lang").rglob("*.dsk"))]
WORDS = re.findall(
    r"\S+",
    """
    dsk import let profile block forward extern op from repeat if else return loss metric exit as share not and or true
    false none auto x f a.b model data 1 2.5 5% 72 GiB "s" 'q' ( ) [ ] { } , : = -> + - * / // % ** == < >= ! $ . \\ #c
    """,
)
WORDS += ["\n", " ", "\t", "\r\n", "\0", "：", "“", "é", "\ufeff", "日"]
PROFILE = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def stands(source: Source) -> None:
    """Findings have places within the text and can be shown; a tree is there; fixes come to an end."""
    sink = Sink()
    file = parse(source, sink)
    assert isinstance(file, ast.File)
    assert len(sink) <= MAX_ERRORS + 1
    for finding in [*sink, *check(source).sink]:
        assert 0 <= finding.span.start <= finding.span.end <= len(finding.span.source.text)
    for format in FORMATS:
        assert isinstance(render(list(sink), format), str)
    assert file.broken or not sink.failed or {f.code for f in sink} <= {"E0111", "E0112", "E0113"}
    errors = [finding.span.line for finding in sink if finding.code != "E0126"]
    assert len(set(errors)) == len(errors), "one message for one line"


@PROFILE
@given(st.binary(max_size=300))
def test_bytes(data: bytes) -> None:
    source = decode("bytes", data, Sink())
    assert source is not None
    stands(source)


@PROFILE
@given(st.text(max_size=300))
def test_text(text: str) -> None:
    stands(Source("text", text))


@PROFILE
@given(st.lists(st.sampled_from(WORDS), max_size=80))
def test_words(words: list[str]) -> None:
    stands(Source("words", "dsk 1\n" + " ".join(words)))


@PROFILE
@given(st.sampled_from(SPECS), st.randoms(use_true_random=False), st.integers(1, 6))
def test_damaged_specs(text: str, chance: random.Random, cuts: int) -> None:
    for _ in range(cuts):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((0, 1, 1, 2, 10, 200)))
        text = text[:start] + chance.choice(["", *WORDS]) + text[end:]
    stands(Source("damaged", text))


@PROFILE
@given(st.sampled_from(SPECS), st.randoms(use_true_random=False))
def test_fixes_only_take_findings_away(text: str, chance: random.Random) -> None:
    words = text.split(" ")
    del words[chance.randrange(len(words))]
    source = Source("damaged", " ".join(words))
    for _ in range(20):
        sink = Sink()
        parse(source, sink)
        fixed, made = apply_fixes(source, sink)
        if not made:
            return
        source = Source("damaged", fixed)
    pytest.fail("fixes go on for ever")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "{" * 100_000,
        "a: " + "[" * 5_000,
        "a: " + "-" * 5_000 + "1",
        "a: " + "not " * 2_000 + "x",
        "a: " + "2 ** " * 1_500 + "2",
        "a: " + "f(" * 2_000 + ")" * 2_000,
        "a: " + "1 + \n" * 900,
        "s { " * 3_000 + "}" * 3_000,
        "if a { } else " * 600 + "{ }",
        "}" * 9_000,
        '"' * 9_999,
        "\\" * 9_999,
        "x" * 10_000_000,
        "$\n" * 20_000,
        "a: 1 2\n" * 20_000,
        "forward" * 1_000 + "\n" + "block f(" * 1_000,
        "[" + "1, " * 30_000,
    ],
    ids=range(18),
)
def test_huge(text: str) -> None:
    for source in (Source("huge", text), Source("huge", "dsk 1\n" + text.replace(" ", "\n"))):
        stands(source)
