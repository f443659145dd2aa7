"""The documents are right: specs in them compile, links lead somewhere, files they name exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "editors/vscode/README.md"]
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)\)")
NAMED = re.compile(r"`((?:dsl|compiler|runtime|templates|tests|examples|editors|docs|benchmarks|\.ci)/[\w./-]*)`")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))


def specs() -> Iterator[tuple[str, str]]:
    """The place and the text of every whole spec in the documents."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in re.finditer(r"^```dsk\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield f"{document.name}:{text.count(chr(10), 0, match.start()) + 1}", match[1]


@pytest.mark.parametrize(("place", "text"), specs(), ids=[place for place, _ in specs()])
def test_every_spec_checks(place: str, text: str) -> None:
    command = [sys.executable, "-m", "dskc.compiler.cli", "check", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, place + "\n" + done.stdout + done.stderr


def test_there_are_specs() -> None:
    assert len(list(specs())) >= 2


@each_document
def test_links_lead_to_files(document: Path) -> None:
    targets = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]

    assert not [target for target in targets if not (document.parent / target).exists()]


# Pages of the index above stand for all pages; E0203 is the example in the text.
@each_document
def test_named_files_exist(document: Path) -> None:
    assert not [name for name in NAMED.findall(document.read_text(encoding="utf-8")) if not (ROOT / name).exists()]
