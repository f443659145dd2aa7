"""The documents are right: specs in them compile, links lead somewhere, files they name exist."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize(("place", "text"), list(specs()), ids=[place for place, _ in specs()])
def test_every_spec_checks(place: str, text: str) -> None:
    command = [sys.executable, "-m", "dskc.compiler.cli", "check", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, place + "\n" + done.stdout + done.stderr


def test_the_mistake_in_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    wrong = next(text for place, text in specs() if place.startswith("tutorial")).replace("lr: 3e-3", "lr 3e-3")
    (tmp_path / "digits.dsk").write_text(wrong, encoding="utf-8")
    command = [sys.executable, "-m", "dskc.compiler.cli", "check", "digits.dsk"]
    path = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=path)

    assert done.returncode == 1
    assert f"```\n{(done.stdout + done.stderr).strip()}\n```" in tutorial


def test_there_are_specs() -> None:
    assert len(list(specs())) >= 2


def test_the_readme_shows_its_specs_and_their_programs(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = ROOT / "examples" / "stdlib_gpt.dsk"
    (layout,) = (spec for spec in re.findall(r"^```dsk\n(.*?)^```", readme, re.M | re.S) if "\nparallel {" in spec)
    (tmp_path / "gpt.dsk").write_text(layout, encoding="utf-8")
    written = ""
    for spec in (example, tmp_path / "gpt.dsk"):
        command = [sys.executable, "-m", "dskc.compiler.cli", "compile", str(spec), "-o", str(tmp_path / spec.stem)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        written += "".join(path.read_text(encoding="utf-8") for path in sorted((tmp_path / spec.stem).glob("*.py")))
    shown = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    pieces = [piece for part in shown for piece in re.split(r"\n *\.\.\.\n|\n\n", part)]

    assert example.read_text(encoding="utf-8").partition("dsk 1\n")[2] in readme
    assert len(shown) == 4
    assert not [piece for piece in pieces if piece not in written], "copy the program into README.md again"


@each_document
def test_links_lead_to_files(document: Path) -> None:
    targets = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]

    assert not [target for target in targets if not (document.parent / target).exists()]


@each_document
def test_named_files_exist(document: Path) -> None:
    assert not [name for name in NAMED.findall(document.read_text(encoding="utf-8")) if not (ROOT / name).exists()]
