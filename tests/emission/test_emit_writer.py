"""The folder of a program: whole or as it was, and never over what a person has changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dskc.compiler.cli import main
from dskc.compiler.emit import WriteError, write
from dskc.compiler.emit.layout import assignment, bracketed, split_arguments

from .compiled import example

FILES = {"model.py": "a = 1\n", "train.py": "b = 2\n", "parts/inner.py": "c = 3\n"}


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}


def test_writes_and_replaces(tmp_path: Path) -> None:
    write(tmp_path / "out", FILES)
    write(tmp_path / "out", {"model.py": "a = 9\n"})

    assert contents(tmp_path / "out") == {"model.py": "a = 9\n"}


def test_keeps_what_it_did_not_write(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, FILES)

    assert contents(tmp_path) == {**FILES, "notes.txt": "mine"}


@pytest.mark.parametrize("name", ["model.py", "parts/inner.py"])
def test_refuses_what_was_changed(tmp_path: Path, name: str) -> None:
    write(tmp_path, FILES)
    (tmp_path / name).write_text("edited = True\n")

    with pytest.raises(WriteError, match=rf"{name}.*--force"):
        write(tmp_path, {"train.py": "b = 4\n"})

    assert contents(tmp_path) == {**FILES, name: "edited = True\n"}
    write(tmp_path, FILES, force=True)
    assert contents(tmp_path) == FILES


def test_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("mine\n")

    with pytest.raises(WriteError, match=r"train\.py"):
        write(tmp_path, FILES)

    assert contents(tmp_path) == {"train.py": "mine\n"}


def test_a_failure_leaves_the_program_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, FILES)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(WriteError, match="No space left"):
            write(tmp_path, {"model.py": "new\n"})

    assert contents(tmp_path) == FILES
    assert not list(tmp_path.glob(".writing-*"))


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"files": 3}', '{"files": {"../../x": "y", "/etc/x": "y"}}'])
def test_a_damaged_record_removes_nothing(tmp_path: Path, record: str) -> None:
    outside = tmp_path / "x"
    outside.write_text("keep")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / ".dskc.json").write_text(record)

    write(folder, FILES)

    assert outside.read_text() == "keep"
    assert set(json.loads((folder / ".dskc.json").read_text())["files"]) == set(FILES)


def spec(folder: Path, text: str | None = None) -> str:
    path = folder / "gpt.dsk"
    path.write_text(text or example("stdlib_gpt").text)
    return str(path)


def test_compile_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["compile", spec(tmp_path)]) == 0
    first = contents(tmp_path / "build" / "gpt")
    assert main(["compile", spec(tmp_path), "-o", "other/place"]) == 0

    program = {"model.py", "train.py", "plan.json"}
    assert set(first) == program | {"test_program.py"} | {f"small/one_process/{name}" for name in program}
    assert contents(tmp_path / "other" / "place") == first
    assert os.path.join("build", "gpt", "train.py") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--set", "model.depth=oops"], 1, "error"),
        (["--set", "optimizer.l4=1e-7"], 1, "E0701"),
        (["--profile", "none_such"], 1, "none_such"),
    ],
)
def test_a_failed_compile_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, said: str
) -> None:
    out = tmp_path / "out"
    assert main(["compile", spec(tmp_path), "-o", str(out)]) == 0
    before = contents(out)

    assert main(["compile", spec(tmp_path), "-o", str(out), *flags]) == code

    assert contents(out) == before
    assert said in capsys.readouterr().err


def test_a_missing_spec_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(tmp_path / "none.dsk")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_run_gives_the_exit_code_of_the_program(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["--set", f'data.source=text("{tmp_path}/none/*.txt")', "-o", str(tmp_path / "out")]

    assert main(["run", spec(tmp_path), *flags]) == 1

    assert "no file matches" in capfd.readouterr().err


def test_layout() -> None:
    assert split_arguments('a, f(b, c), "x, y", [1, 2]') == ["a", "f(b, c)", '"x, y"', "[1, 2]"]
    assert assignment("x = ", "f(a)", 4) == ["x = f(a)"]
    long = ", ".join(f"argument_{i}" for i in range(7)) + ", argone"
    assert assignment("x = ", f"f({long})", 4) == ["x = f(", f"    {long}", ")"]
    names = [f"argument_number_{i}" for i in range(8)]
    assert bracketed("f(", names, ")") == ["f(", *(f"    {name}," for name in names), ")"]
