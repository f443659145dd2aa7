"""Each page about settings: its wrong example has this finding and no other, its right example none."""

import re
from pathlib import Path

import pytest

from dskc.compiler.gate import gate
from dskc.dsl import load
from dskc.dsl.source import Source

PAGES = Path(__file__).parents[2] / "dsl" / "errors"
BANDS = ("E02", "E03", "E04", "E06", "E07", "W090")
BLOCKS = re.compile(r"```dsk\n(.*?)```", re.DOTALL)
OURS = [page for page in sorted(PAGES.glob("*.md")) if page.stem.startswith(BANDS) and "```dsk" in page.read_text()]


def codes(text: str, name: str) -> list[str]:
    spec, sink = load(Source(name, text))
    if spec is not None:
        gate(spec, sink)
    return [finding.code for finding in sink]


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.stem)
def test_examples_do_what_they_say(page: Path) -> None:
    wrong, right = BLOCKS.findall(page.read_text())

    # a right example may still hold what is not compiled yet
    assert set(codes(right, f"{page.stem}.dsk")) <= {"E0701"}
    assert set(codes(wrong, f"{page.stem}.dsk")) == {page.stem}


def test_every_code_has_a_page() -> None:
    root = PAGES.parents[1]
    folders = ("dsl/resolve", "dsl", "compiler")
    text = "".join(path.read_text() for folder in folders for path in (root / folder).glob("*.py"))
    raised = {code for code in re.findall(r'"([EW]0[2-9]\d\d)"', text) if code.startswith(BANDS)}

    # an internal fault has no remedy to explain
    assert raised - {page.stem for page in PAGES.glob("*.md")} == {"E0299"}
