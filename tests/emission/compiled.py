"""Compiles specs in the tests: from text to the files of the program."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

from dskc.compiler.build import Checked, check, make_plan
from dskc.compiler.emit import program
from dskc.compiler.gate import gate
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NUMBERS = itertools.count()


def example(name: str) -> Source:
    """An example's text; of `digits` what has a back end."""
    text = (EXAMPLES / f"{name}.dsk").read_text("utf-8")
    if name == "digits":
        text = text[: text.index("compression {")]
    return Source(f"{name}.dsk", text)


def compile_source(
    source: Source, *overrides: str, profile: str | None = None, standalone: bool = False
) -> dict[str, str]:
    """The program's files; an AssertionError with the findings where there are errors."""
    checked = check(source, profile, overrides)
    assert checked.spec is not None, told(checked.sink)
    gate(checked.spec, checked.sink)
    assert not checked.sink.failed, told(checked.sink)
    return written(checked, standalone)


def unchecked_source(source: Source, *overrides: str, profile: str | None = None) -> dict[str, str]:
    """The program's files of what the gate may still refuse."""
    return written(check(source, profile, overrides), standalone=False)


def written(checked: Checked, standalone: bool) -> dict[str, str]:
    assert checked.spec is not None, told(checked.sink)
    assert checked.lowered is not None, told(checked.sink)
    files = program(checked.spec, make_plan(checked.spec, checked.lowered), checked.sink, standalone)
    assert files is not None, told(checked.sink)
    return files


def told(sink: object) -> str:
    return "\n".join(f"{d.code} {d.span}: {d.message}" for d in sink)  # type: ignore[attr-defined]


def resolved(source: Source, *overrides: str) -> Spec:
    spec = check(source, None, overrides).spec
    assert spec is not None
    return spec


def write(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def load_model(files: dict[str, str], folder: Path) -> ModuleType:
    """The emitted `model.py` as a module of its own name."""
    write(files, folder)
    name = f"emitted_model_{next(NUMBERS)}"
    described = importlib.util.spec_from_file_location(name, folder / "model.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules[name] = module
    described.loader.exec_module(module)
    return module
