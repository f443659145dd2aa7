"""`--standalone`: the modules of the runtime that a program uses, copied beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "dskc_runtime"
RUNTIME = Path(__file__).parents[2] / "runtime"


def runtime_files(program: str) -> dict[str, str]:
    """Files of the package `dskc_runtime` by path: what the program imports, and what that imports in turn."""
    waiting = [RUNTIME / "__init__.py"]
    for line in re.findall(rf"^from {PACKAGE}(?:\.\w+)? import .*?(?:\([^)]*\))?$", program, re.MULTILINE):
        waiting += _imported(ast.parse(line).body[0], RUNTIME, PACKAGE)
    done: dict[Path, str] = {}
    while waiting:
        path = waiting.pop()
        if path not in done:
            done[path] = path.read_text("utf-8")
            for node in ast.walk(ast.parse(done[path])):
                waiting += _imported(node, path.parent, None)
    return {f"{PACKAGE}/{path.relative_to(RUNTIME).as_posix()}": done[path] for path in sorted(done)}


def _imported(node: ast.AST, folder: Path, package: str | None) -> Iterator[Path]:
    """Files that an import statement of the runtime's own modules needs; `package` is its absolute name."""
    if not isinstance(node, ast.ImportFrom) or (package is None and not node.level):
        return
    base = folder
    for _ in range(max(node.level - 1, 0)):
        base = base.parent
    parts = (node.module or "").split(".")[1 if package else 0 :]
    for part in parts:
        base = base / part if part else base
    yield from _files(base)
    for alias in node.names:
        yield from _files(base / alias.name)


def _files(path: Path) -> Iterator[Path]:
    for found in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if found.is_file() and RUNTIME in found.parents:
            yield found
