"""Arrows go one way: dsl <- compiler, templates are read by emit only, runtime stands alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("dsl", "compiler", "runtime", "templates")

# What each layer may import of the project, and of other people.
ALLOWED = {"dsl": {"dsl"}, "compiler": {"dsl", "compiler"}, "runtime": {"runtime"}, "templates": {"templates"}}
THIRD_PARTY = {
    "dsl": {"lark", "jsonschema", "pygments"},
    "compiler": {"jinja2", "networkx", "shtab"},
    "runtime": {
        "torch", "numpy", "safetensors", "tokenizers", "pyarrow", "sklearn", "matplotlib", "tensorboard", "triton",
    },
    "templates": set(),
}  # fmt: skip

# `dskc check` answers in 0.3 s; each of these would cost a tenth of that or more.
HEAVY = {"torch", "numpy", "networkx", "jinja2", "pygments", "difflib", "email", "asyncio", "shtab"}


def modules() -> list[Path]:
    """Every Python file of the four layers, relative to the root."""
    return [file.relative_to(ROOT) for layer in LAYERS for file in sorted((ROOT / layer).rglob("*.py"))]


def imports(module: Path) -> Iterator[tuple[str, int]]:
    """The absolute dotted names that a file imports, anywhere in it, with their lines."""
    package = ("dskc", *module.parent.parts)
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = (*base, *(node.module or "").split(".")) if node.module else base
            yield from ((".".join((*base, alias.name)), node.lineno) for alias in node.names)


def refused(module: Path, name: str) -> bool:
    """Whether a file of this layer must not import this name."""
    layer, parts = module.parts[0], name.split(".")
    if parts[0] == "dskc":
        return len(parts) < 2 or parts[1] not in ALLOWED[layer]
    return parts[0] not in sys.stdlib_module_names and parts[0] not in THIRD_PARTY[layer]


@pytest.mark.parametrize("module", modules(), ids=str)
def test_imports_point_one_way(module: Path) -> None:
    assert not [f"{module}:{line} imports {name}" for name, line in imports(module) if refused(module, name)]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("dsl/source.py", "dskc.compiler.plan"),
        ("dsl/source.py", "torch.nn"),
        ("compiler/plan.py", "dskc.runtime.order"),
        ("compiler/ops/base.py", "torch"),
        ("runtime/order.py", "dskc.dsl.source"),
        ("runtime/order.py", "networkx"),
        ("compiler/emit/program.py", "dskc"),
    ],
)
def test_a_wrong_arrow_is_refused(module: str, name: str) -> None:
    assert refused(Path(module), name)


def strings(module: Path) -> Iterator[tuple[str, int]]:
    """The string constants of a file that are not docstrings."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value, node.lineno


@pytest.mark.parametrize("module", [m for m in modules() if m.parts[:2] != ("compiler", "emit")], ids=str)
def test_templates_are_read_by_emit_only(module: Path) -> None:
    reads = [line for text, line in strings(module) if "dskc.templates" in text or ".j2" in text]
    renders = [line for name, line in imports(module) if name.split(".")[0] == "jinja2"]

    assert not [f"{module}:{line}" for line in (*reads, *renders)]


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a Python process with these arguments has imported, by its own report."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    report = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in report}


def roots(names: set[str]) -> set[str]:
    """The top-level packages among dotted names."""
    return {name.partition(".")[0] for name in names}


def test_heavy_modules_are_seen() -> None:
    assert "networkx" in roots(loaded_by("-c", "import networkx"))


def test_check_loads_nothing_heavy() -> None:
    loaded = loaded_by("-m", "dskc.compiler.cli", "check", "examples/stdlib_gpt.dsk")

    assert "dskc.dsl.parse" in loaded
    assert not HEAVY & roots(loaded)
