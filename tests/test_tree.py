"""What must not be in the tree: paths of one machine, unsafe loading, unfinished work."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("dsl", "compiler", "runtime", "templates", "examples", "tests", "benchmarks", "editors", "docs", ".ci")
TEXT = {".py", ".md", ".toml", ".txt", ".j2", ".lark", ".dsk", ".json", ".yaml", ".yml", ".sh", ".js", ".html", ""}
SKIPPED = {"__pycache__", "node_modules", "build", "runs"}

# Absolute paths that mean something on one machine only; the words are split so that this file passes.
MACHINE = re.compile(r"(?<![\w.}])/(?:wo" r"rk|ro" r"ot|home/\w+|Users/\w+|opt/whee" r"ls|tmp/v)(?:/|\b)(?!flow)")
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|raise NotImplemented" r"Error)\b")
UNSAFE_CALLS = {"pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "joblib.load",
                "cloudpickle.load", "cloudpickle.loads", "marshal.load", "marshal.loads", "yaml.load",
                "yaml.unsafe_load", "os.system"}  # fmt: skip
EVALUATION = {"eval", "exec"}  # a test may run what the compiler wrote for it


def tracked() -> list[Path]:
    """The text files of the project."""
    found = [file for file in sorted(ROOT.glob("*")) if file.is_file() and file.name != ".git"]
    found += [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*")) if file.is_file()]
    return [file for file in found if file.suffix in TEXT and not SKIPPED & set(file.relative_to(ROOT).parts)]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The dotted name of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def unsafe(text: str, also: set[str] = EVALUATION) -> list[str]:
    """The calls of a Python text that could run code from data."""
    found = []
    for name, call in calls(ast.parse(text)):
        weights_only = any(
            k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
            for k in call.keywords
        )
        allows_pickle = any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in call.keywords)
        if name in UNSAFE_CALLS | also or (name == "torch.load" and not weights_only) or allows_pickle:
            found.append(f"{call.lineno}: {name}")
    return found


@pytest.mark.parametrize("file", tracked(), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_machine_path_and_nothing_unfinished(file: Path) -> None:
    text = file.read_text(encoding="utf-8", errors="replace")

    assert not [match[0] for match in MACHINE.finditer(text)]
    assert not [match[0] for match in UNFINISHED.finditer(text)]


@pytest.mark.parametrize("file", [f for f in tracked() if f.suffix == ".py"], ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_loads_code_from_data(file: Path) -> None:
    tested = file.relative_to(ROOT).parts[0] == "tests"

    assert not unsafe(file.read_text(encoding="utf-8"), set() if tested else EVALUATION)


def test_templates_load_nothing_unsafe() -> None:
    for template in sorted((ROOT / "templates").rglob("*.j2")):
        text = template.read_text(encoding="utf-8")
        assert "pickle" not in text, template
        assert "torch.load" not in text, template


@pytest.mark.parametrize("bad", ["torch.load(f)", "torch.load(f, weights_only=False)", "pickle.load(f)", "eval(x)"])
def test_an_unsafe_call_is_seen(bad: str) -> None:
    assert unsafe(bad)
    assert not unsafe("torch.load(f, weights_only=True); safetensors.torch.load_file(f); model.eval()")
