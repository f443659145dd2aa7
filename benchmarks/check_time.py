"""Time of `dskc check` and `dskc compile` as whole processes:  python benchmarks/check_time.py [--rounds 15]"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/stdlib_gpt.dsk"
DSKC = Path(sys.executable).with_name("dskc")
LIMITS = {"check": 0.30, "compile": 0.60, "check_10_000_lines": 2.0}
MOST_DEEPER = 1.5
"""How much longer than 6 layers 1,000 may take."""


def main() -> int:
    """Measures, prints a table, keeps the result; 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    about = machine.describe()
    command = [str(DSKC)] if DSKC.exists() else [sys.executable, "-m", "dskc.compiler.cli"]
    with tempfile.TemporaryDirectory() as folder:
        times = _interleaved(command, _cases(Path(folder)), rounds)
    figures: dict[str, Any] = {name: _summary(values) for name, values in times.items()}
    for action in ("check", "compile"):
        ratio = figures[f"{action}_1_000_layers"]["median"] / figures[action]["median"]
        figures[f"{action}_1_000_over_6_layers"] = round(ratio, 3)
    print(f"{'':24}{'median':>9}{'fastest':>9}{'limit':>8}")
    for name, values in figures.items():
        if isinstance(values, dict):
            limit = f"{LIMITS[name]:.2f} s" if name in LIMITS else ""
            print(f"{name:24}{values['median']:7.3f} s{values['fastest']:7.3f} s{limit:>8}")
        else:
            print(f"{name:30}{values:.2f} (limit {MOST_DEEPER})")
    figures["imports_torch"] = _imports_torch()
    print(f"check imports torch: {figures['imports_torch']}")
    print(machine.write("check_time", about, figures))
    late = any(figures[name]["median"] > limit for name, limit in LIMITS.items())
    deeper = any(value > MOST_DEEPER for name, value in figures.items() if name.endswith("over_6_layers"))
    return int(late or deeper or figures["imports_torch"])


def _cases(folder: Path) -> dict[str, list[str]]:
    example = EXAMPLE.read_text("utf-8")
    deep = folder / "deep.dsk"
    deep.write_text(example.replace("depth: 6", "depth: 1_000"), "utf-8")
    assert "depth: 1_000" in deep.read_text("utf-8")
    long = folder / "long.dsk"
    long.write_text(long_spec(example, 10_000), "utf-8")
    out = str(folder / "out")
    return {
        "check": ["check", str(EXAMPLE)],
        "compile": ["compile", str(EXAMPLE), "-o", out],
        "check_1_000_layers": ["check", str(deep)],
        "compile_1_000_layers": ["compile", str(deep), "-o", out + "-deep"],
        "check_10_000_lines": ["check", str(long)],
    }


def long_spec(example: str, lines: int) -> str:
    """The example with so many different blocks that it has this many lines; all of them are used."""
    blocks: list[str] = []
    calls: list[str] = []
    size = 10
    for i in range((lines - example.count("\n")) // (size + 1) + 1):
        body = "\n".join(f"    h{j} = h{j - 1} * {j + 1}.5 + x" for j in range(1, size - 2))
        blocks.append(f"  block extra_{i}(x: [B, S, dim]) {{\n    h0 = x + {i}\n{body}\n    return h{size - 3}\n  }}")
        calls.append(f"    x = extra_{i}(x)")
    text = example.replace("\n  forward(", "\n" + "\n".join(blocks) + "\n\n  forward(", 1)
    text = text.replace("    repeat depth", "\n".join(calls) + "\n    repeat depth", 1)
    assert text.count("\n") >= lines
    return text


def _interleaved(command: list[str], cases: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each case; rounds take turns so that a slow moment of the machine meets all."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, arguments in cases.items():
            before = time.perf_counter()
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - before
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")
            if turn:  # the first fills the caches of the disk
                times[name].append(seconds)
    return times


def _summary(values: list[float]) -> dict[str, Any]:
    return {"median": round(statistics.median(values), 4), "fastest": round(min(values), 4), "rounds": len(values)}


def _imports_torch() -> bool:
    """Whether `dskc check` brings torch in."""
    code = (
        "import sys; from dskc.compiler.cli import main; "
        f"code = main(['check', {str(EXAMPLE)!r}]); sys.exit(code or 3 * ('torch' in sys.modules))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 3


if __name__ == "__main__":
    raise SystemExit(main())
