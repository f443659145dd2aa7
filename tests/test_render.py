"""What findings look like: one snapshot file per format and case."""

import json

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from dskc.dsl.diagnostics import Diagnostic, Fix, Label, Sink
from dskc.dsl.parse import parse
from dskc.dsl.render import FORMATS, count, render
from dskc.dsl.render.line import picture
from dskc.dsl.source import Source, Span

MISTAKES = """dsk 1

model gpt {
\thidden 704
  name: "日本", depth: 4 width: 3
  sizes: [1, 2
  act: f(a: 1, a: 2)
  n: 'x'
}

dsk 1
"""
CASES = {
    "mistakes": MISTAKES,
    "missing_version": "# a comment\nmodel gpt {\n  dim: 8\n}\n",
    "nothing": "dsk 1\n",
    "more_than_are_shown": "dsk 1\n" + "a 1\n" * 25,
}
ENDINGS = {"text": "txt", "concise": "concise.txt", "json": "json", "sarif": "sarif", "github": "github.txt"}


class File(SingleFileSnapshotExtension):
    _write_mode = WriteMode.TEXT


def findings(text: str) -> list[Diagnostic]:
    sink = Sink()
    parse(Source("gpt.dsk", text), sink)
    return list(sink)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_snapshot(case: str, format: str, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dskc.dsl.render.sarif._version", lambda: "0.0.0")
    extension = type("Format", (File,), {"file_extension": ENDINGS[format]})

    assert render(findings(CASES[case]), format) == snapshot(extension_class=extension)


def test_colour_only_adds_escapes() -> None:
    import re

    shown = findings(MISTAKES)
    assert re.sub(r"\x1b\[[0-9;]*m", "", render(shown, "text", color=True)) == render(shown, "text")


def test_label_in_another_file() -> None:
    here, there = Source("a.dsk", "x: 1\n"), Source("b.dsk", "\n\ny: 2\n")
    finding = Diagnostic("E0203", "conflict", Span(here, 0, 1), labels=(Label(Span(there, 2, 3), "with this"),))

    assert render([finding], "text").splitlines()[1:9] == [
        " --> a.dsk:1:1", "  |", "1 | x: 1", "  | ^", " ::: b.dsk:3:1", "  |", "3 | y: 2", "  | - with this",
    ]  # fmt: skip


def test_control_characters_do_not_reach_the_terminal() -> None:
    source = Source("a\x1b[2J.dsk", "x: \x1b[31m\u202e1\n")
    finding = Diagnostic("E0101", "evil \x1b[31m", Span(source, 3, 4), help="\x07")

    for format in ("text", "concise"):
        assert "\x1b" not in render([finding], format)
        assert "\x07" not in render([finding], format)
        assert "\u202e" not in render([finding], format)


@pytest.mark.parametrize(
    ("line", "start", "end", "indent", "width"),
    [
        ("abc", 1, 2, 1, 1),
        ("\tabc", 1, 4, 4, 3),
        ("ab\tc", 3, 4, 4, 1),
        ("日本 x", 3, 4, 5, 1),
        ("日本 x", 0, 2, 0, 4),
        ("e\u0301x", 2, 3, 1, 1),
        ("abc", 3, 3, 3, 1),
        ("a\0b", 2, 3, 2, 1),
    ],
)
def test_caret_stands_under_its_character(line: str, start: int, end: int, indent: int, width: int) -> None:
    source = Source("t", line + "\n")

    assert picture(source, Span(source, start, end))[1:] == (indent, width)


def test_long_line_is_cut_around_the_place() -> None:
    source = Source("t", "a" * 3_000 + "X" + "b" * 3_000)
    shown = picture(source, Span(source, 3_000, 3_001))

    assert len(shown.text) <= 122
    assert shown.text[shown.indent] == "X"


def test_github_escapes_what_would_end_a_command() -> None:
    source = Source("a,b:c\n.dsk", "x")

    text = render([Diagnostic("E0101", "50% of\nit", Span(source, 0, 1))], "github")

    assert text == "::error file=a%2Cb%3Ac%0A.dsk,line=1,col=1,endLine=1,endColumn=2,title=E0101::50%25 of%0Ait\n"


def test_sarif_is_what_2_1_0_asks_for() -> None:
    """The parts that the OASIS schema requires, and that each index and region is one."""
    shown = findings(MISTAKES)
    log = json.loads(render(shown, "sarif"))

    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "dskc"
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert len(run["results"]) == len(shown)
    assert sum("fixes" in result for result in run["results"]) == sum(finding.fix is not None for finding in shown) > 2
    regions = []
    for result in run["results"]:
        assert result["level"] in ("error", "warning")
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        places = [place["physicalLocation"] for place in [*result["locations"], *result.get("relatedLocations", ())]]
        changes = [change for fix in result.get("fixes", ()) for change in fix["artifactChanges"]]
        assert all(place["artifactLocation"]["uri"] == "gpt.dsk" for place in [*places, *changes])
        regions += [place["region"] for place in places]
        regions += [replacement["deletedRegion"] for change in changes for replacement in change["replacements"]]
    for region in regions:
        assert (1, 1) <= (region["startLine"], region["startColumn"]) <= (region["endLine"], region["endColumn"])


def test_json_places_and_fixes_can_be_applied() -> None:
    data = json.loads(render(findings(MISTAKES), "json"))

    assert data["format_version"].split(".")[0] == "1"
    for finding in data["diagnostics"]:
        start, end = finding["range"]["start"]["offset"], finding["range"]["end"]["offset"]
        line, column = finding["range"]["start"]["line"], finding["range"]["start"]["column"]
        assert MISTAKES[:start].count("\n") + 1 == line
        assert start - (MISTAKES.rfind("\n", 0, start) + 1) + 1 == column
        assert start <= end
    first = data["diagnostics"][0]["fix"]
    at = first["range"]["start"]["offset"]
    assert (MISTAKES[:at] + first["replacement"] + MISTAKES[at:]).splitlines()[3] == "\thidden: 704"


def test_count() -> None:
    span = Span(Source("t", "x"), 0, 1)
    errors = [Diagnostic("E0101", "m", span)] * 2
    warning = Diagnostic("W0901", "m", span, severity="warning", fix=Fix(span, ""))

    assert [count(f) for f in ([], [warning], [*errors, warning])] == [
        "no findings", "1 warning", "2 errors, 1 warning",
    ]  # fmt: skip
