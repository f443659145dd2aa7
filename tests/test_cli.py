"""The command line: exit codes, streams, help, fixes, files."""

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dskc.compiler.cli import COMMANDS, main
from dskc.compiler.cli.new import STARTER

ROOT = Path(__file__).parent.parent
GOOD = STARTER
BAD = GOOD.replace("depth: 6", "depth 6").replace("steps: 300", "steps: 300 epochs:")


def run(*arguments: str) -> int:
    """The exit code, whether returned or raised by argparse."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "gpt.dsk"
    path.write_text(GOOD)
    return path


def test_check_of_a_good_spec(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(spec)) == 0
    assert capsys.readouterr().out == f"{spec}: no errors\n"


def test_check_of_a_bad_spec(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(BAD)

    assert run("check", str(spec)) == 1

    output = capsys.readouterr().out
    assert "error[E0109]" in output
    assert output.endswith("errors\n")
    assert "\x1b" not in output


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))

    assert run("check", "-", "--output-format", "json") == 1

    places = [finding["range"]["file"] for finding in json.loads(capsys.readouterr().out)["diagnostics"]]
    assert set(places) == {"<stdin>"}


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("check",), ("check", "nowhere.dsk"), ("check", "a\0b"),
                                       ("check", "."), ("explain", "E9999"), ("explain", "optimizer.lrr")])  # fmt: skip
def test_usage_errors(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "dskc" in captured.err


def test_help_names_every_command_and_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0

    text = capsys.readouterr().out
    assert all(f"\n    {name}" in text for name, _ in COMMANDS)
    assert "examples:" in text
    assert "exit codes: 0 fine, 1 errors in the spec or the run, 2 wrong usage" in text


def test_help_imports_no_command() -> None:
    code = (
        "import sys\nfrom dskc.compiler.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(', '.join(m for m in sys.modules if m.startswith('dskc.') and m not in "
        "('dskc.compiler', 'dskc.compiler.cli', 'dskc.compiler.version')) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")


def test_fix_repairs_the_file_and_keeps_its_rights(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        GOOD.replace("dsk 1\n\n", "").replace("depth: 6", "depth 6").replace('"{stdlib}/**/*.py"', "'{stdlib}/**/*.py'")
    )
    spec.write_bytes(text.replace("\n", "\r\n").encode())
    spec.chmod(0o640)

    assert run("check", str(spec), "--fix") == 0

    repaired = spec.read_bytes().decode()
    assert repaired.replace("\r\n", "\n") == GOOD.replace("dsk 1\n\n", "", 1).replace(
        "# A small GPT that learns from text; `dskc explain SECTION` lists what each section can say.\n",
        "# A small GPT that learns from text; `dskc explain SECTION` lists what each section can say.\ndsk 1\n\n",
    )
    assert stat.S_IMODE(spec.stat().st_mode) == 0o640
    assert sorted(path.name for path in spec.parent.iterdir()) == ["gpt.dsk"]
    assert "fixed" in capsys.readouterr().err


def test_fix_leaves_what_has_no_safe_repair(spec: Path) -> None:
    text = GOOD.replace("steps: 300", "steps:")
    spec.write_text(text)

    assert run("check", str(spec), "--fix") == 1
    assert spec.read_text() == text


def test_fix_of_standard_input_prints_the_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.replace("depth: 6", "depth 6").encode())))

    assert run("check", "-", "--fix") == 0
    assert capsys.readouterr().out == GOOD


def test_new_writes_a_spec_that_is_fine_and_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "new.dsk"

    assert run("new", str(path)) == 0
    assert run("check", str(path)) == 0
    path.write_text("mine")
    assert run("new", str(path)) == 2
    assert path.read_text() == "mine"


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "e0109") == 0
    assert capsys.readouterr().out.startswith("# E0109: ")
    assert run("explain", "optimizer.weight_decay") == 0
    text = capsys.readouterr().out
    assert "optimizer.weight_decay: number" in text
    assert "default:" in text
    assert run("explain", "schedule") == 0
    assert "warmup" in capsys.readouterr().out


def test_every_setting_can_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from dskc.dsl.describe import subjects

    assert len(subjects()) > 60
    for subject in subjects():
        assert run("explain", subject) == 0


def test_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("completion", "bash") == 0

    script = capsys.readouterr().out
    assert "--output-format" in script
    assert all(name in script for name, _ in COMMANDS)


def test_completion_without_shtab_says_how(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)

    assert run("completion", "bash") == 1
    assert "pip install" in capsys.readouterr().err


def test_no_color_is_respected(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dskc.compiler.cli.spec_file import show
    from dskc.dsl.diagnostics import Sink
    from dskc.dsl.parse import parse
    from dskc.dsl.source import Source

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    sink = Sink()
    parse(Source("t", "a 1"), sink)
    for value, colored in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", value)
        monkeypatch.setenv("TERM", "xterm")
        terminal = Terminal()
        show(list(sink), stream=terminal)
        assert ("\x1b" in terminal.getvalue()) is colored


def test_reader_that_stops_early_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dskc.compiler.cli", "explain", "data"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
