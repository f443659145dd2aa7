"""Pages of the error codes: their examples do what they say, and every code has one."""

import re
from pathlib import Path

import pytest

from dskc.compiler.build import check, planned, settled
from dskc.compiler.elastic import siblings
from dskc.compiler.emit.huggingface import checkpoint
from dskc.compiler.gate import gate
from dskc.dsl.explain import codes, page, title
from dskc.dsl.source import Source

ROOT = Path(__file__).parent.parent
# Bytes that are no text and hundreds of lines do not fit in a page; the others come from flags or from the compiler.
WITHOUT_EXAMPLE = {"E0100", "E0126", "E0299", "E0604", "E0605", "W0941"}
EXAMPLE = re.compile(r"^## (Wrong|Right)\n\n```dsk\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def found(path: Path, text: str) -> set[str]:
    """Codes of what `check` and the passes say, and where that is nothing, of what `compile` says."""
    path.write_text(text)
    checked = settled(check(Source(str(path), text)))
    plan = planned(checked) if not checked.sink.failed else None
    if checked.spec is not None and not len(checked.sink):
        gate(checked.spec, checked.sink)
        if plan is not None and not checked.sink.failed:
            checkpoint(checked.spec, checked.sink)
            siblings(checked.spec, checked.sink)
    return {finding.code for finding in checked.sink}


def examples(code: str) -> dict[str, str]:
    return dict(EXAMPLE.findall(page(code)))


@pytest.mark.parametrize("code", codes())
def test_page_has_its_parts(code: str) -> None:
    text = page(code)

    assert re.match(rf"# {code}: [^A-Z.\n][^.\n]*\n\n\S", text)
    assert title(code)
    assert text.endswith("\n")
    assert not text.rstrip().endswith("```"), "the last paragraph says why"
    assert set(examples(code)) == ({"Wrong", "Right"} if code not in WITHOUT_EXAMPLE else set())


@pytest.mark.parametrize("code", [code for code in codes() if code not in WITHOUT_EXAMPLE])
def test_examples_do_what_they_say(code: str, tmp_path: Path) -> None:
    path = tmp_path / f"{code}.dsk"

    assert found(path, examples(code)["Wrong"]) == {code}
    assert code not in found(path, examples(code)["Right"])


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    sources = [path for folder in ("dsl", "compiler") for path in (ROOT / folder).rglob("*.py")]
    used = {code for path in sources for code in re.findall(r'"([EW]\d{4})"', path.read_text())}

    assert used == set(codes())
