"""The size budget: short files, short functions."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("dsl", "compiler", "runtime")
ALL = (*OURS, "templates", "tests", "benchmarks", "examples")
LONGEST_FILE, MEDIAN_FILE = 400, 150
MEDIAN_FUNCTION, LONG_FUNCTION = 10, 30
WRITTEN = {".py", ".j2", ".lark", ".dsk", ".md"}


def files(folders: tuple[str, ...], suffixes: set[str]) -> list[Path]:
    """The files that people write, without snapshots."""
    every = [file for folder in folders for file in sorted((ROOT / folder).rglob("*"))]
    return [file for file in every if file.suffix in suffixes and "__snapshots__" not in file.parts]


def lines(file: Path) -> int:
    """The number of lines of a file."""
    return len(file.read_bytes().splitlines())


def functions(file: Path) -> list[tuple[int, str]]:
    """The length, `def` to last line with its docstring, and the place of every function of a file."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    found = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [((n.end_lineno or n.lineno) - n.lineno + 1, f"{file.relative_to(ROOT)}:{n.lineno} {n.name}") for n in found]


@pytest.mark.parametrize("file", files(ALL, WRITTEN), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_is_too_long(file: Path) -> None:
    assert lines(file) <= LONGEST_FILE


def test_the_median_file_is_short() -> None:
    sizes = [lines(file) for file in files(OURS, {".py"}) if lines(file) > 1]

    assert median(sizes) <= MEDIAN_FILE


def test_functions_are_short() -> None:
    measured = [length for file in files(OURS, {".py"}) for length, _ in functions(file)]
    longest = sorted((place for file in files(OURS, {".py"}) for place in functions(file)), reverse=True)[:10]

    assert median(measured) <= MEDIAN_FUNCTION
    assert quantiles(measured, n=10)[-1] <= LONG_FUNCTION, longest
