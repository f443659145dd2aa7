"""Bad specs with what must be said of them: `# expect: E0105 4:3` lines at their end; no such line, no finding.

`DSKC_UPDATE=1 pytest tests/test_lang.py` rewrites these lines; read the difference before committing it.
"""

import os
import re
from pathlib import Path

import pytest

from dskc.compiler.build import check
from dskc.dsl.diagnostics import Sink
from dskc.dsl.explain import codes
from dskc.dsl.read import read

LANG = Path(__file__).with_name("lang")
SPECS = sorted(LANG.rglob("*.dsk"))
# Files that others import; they are no specs of their own.
SPECS = [path for path in SPECS if "parts" not in path.parts]
# Two hundred lines (test_parse.py), flags, `plan` and `compile` (test_errors.py), and what only a faulty compiler says.
ELSEWHERE = {
    "E0126",
    "E0299",
    "E0405",
    "E0406",
    "E0407",
    "E0408",
    "E0409",
    "E0411",
    "E0412",
    "E0413",
    "E0421",
    "E0422",
    "E0536",
    "E0537",
    "E0604",
    "E0605",
    "E0701",
    "E0801",
    "E0802",
    "W0915",
    "W0916",
    "W0917",
    "W0921",
    "W0941",
    "W0942",
    "W0951",
}
EXPECT = re.compile(rb"^# expect: ([EW]\d{4} \d+:\d+)\n?", re.MULTILINE)


def findings(path: Path) -> Sink:
    sink = Sink()
    source = read(path, sink)
    return sink if source is None or sink.failed else check(source).sink


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(LANG).with_suffix("")))
def test_says_what_is_expected(path: Path) -> None:
    text = path.read_bytes()
    expected = [match.decode() for match in EXPECT.findall(text)]

    found = list(findings(path))

    actual = [f"{finding.code} {finding.span.line}:{finding.span.column}" for finding in found]
    if os.environ.get("DSKC_UPDATE"):
        path.write_bytes(EXPECT.sub(b"", text) + b"".join(f"# expect: {line}\n".encode() for line in actual))
    else:
        assert actual == expected, [finding.message for finding in found]


def test_enough_distinct_specs() -> None:
    bad = [path for path in SPECS if EXPECT.search(path.read_bytes())]

    assert len({EXPECT.sub(b"", path.read_bytes()) for path in bad}) == len(bad) >= 60


def test_every_code_is_expected_somewhere() -> None:
    expected = {match.decode()[:5] for path in SPECS for match in EXPECT.findall(path.read_bytes())}

    assert set(codes()) - expected == ELSEWHERE
