"""One training step of examples/stdlib_gpt.dsk beside its peers:  python benchmarks/train_step.py

Tokens per second and memory of the program that dskc writes, of the same model in transformers, and of a loop written
by hand; eager and compiled, bf16 autocast and fp32. Each runs in a process of its own; they take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples/stdlib_gpt.dsk"
TOKENS = 8 * 2 * 256
WARM = 3
EQUAL = 0.02
"""Relative difference of losses after the same steps from the same weights; bf16 rounds to 0.4 %."""


@dataclass
class Contestant:
    """A process that waits for its turn."""

    name: str
    process: subprocess.Popen[str]
    parameters: int = 0
    times: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    step_mib: float = 0
    process_mib: float = 0

    def hear(self) -> dict[str, Any]:
        """Its next answer; what else it prints is shown when it fails."""
        assert self.process.stdout is not None
        other = []
        for line in self.process.stdout:
            if line.startswith("@"):
                answer: dict[str, Any] = json.loads(line[1:])
                return answer
            other.append(line)
        raise SystemExit(f"{self.name} ended:\n{''.join(other[-30:])}")

    def turn(self, steps: int, measured: bool) -> None:
        """Lets it run some steps."""
        assert self.process.stdin is not None
        print(steps, file=self.process.stdin, flush=True)
        answer = self.hear()
        self.losses += answer["losses"]
        self.process_mib = answer["process_mib"]
        if measured:
            self.times += answer["times"]
            self.step_mib = max(self.step_mib, answer["turn_mib"])


def main() -> int:
    """Measures, prints a table, keeps the result; 1 when the program is slower or larger than the best peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of a round")
    parser.add_argument("--only", default="", help="contestants whose name holds this text, for a quick look")
    flags = parser.parse_args()
    about = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        contestants = []
        try:
            for name, command in _commands(Path(folder), flags.only).items():  # first all compile, one at a time
                contestant = Contestant(name, _start(command))
                contestants.append(contestant)
                contestant.parameters = contestant.hear()["parameters"]
                contestant.turn(WARM, measured=False)
                print(f"{contestant.name}: ready", file=sys.stderr, flush=True)
            for _ in range(flags.rounds):
                for contestant in contestants:
                    contestant.turn(flags.steps, measured=True)
        finally:
            for contestant in contestants:
                contestant.process.kill()
                contestant.process.wait()
    _check(contestants)
    figures = [_figures(contestant) for contestant in contestants]
    _print(figures)
    verdict = _verdict(figures)
    print(json.dumps(verdict, indent=2))
    if not flags.only:
        print(machine.write("train_step", about, {"contestants": figures, **verdict}))
    return int(bool(verdict) and (verdict["over_best_bf16_peer"] < 1 or verdict["memory_over_handwritten"] > 1))


def _commands(folder: Path, only: str) -> dict[str, list[str]]:
    commands: dict[str, list[str]] = {}
    for how in ("compiled", "eager"):
        program = folder / how
        arguments = ["compile", str(EXAMPLE), "-o", str(program), "--set", f"training.execution={how}"]
        subprocess.run([sys.executable, "-m", "dskc.compiler.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
        name = f"dskc {how} bf16"
        commands[name] = [str(HERE / "peers/generated.py"), str(program), name]
    for precision in ("bf16", "fp32"):
        for how in ("compiled", "eager"):
            commands[f"handwritten {how} {precision}"] = [str(HERE / "peers/handwritten.py"), how, precision]
            commands[f"transformers {how} {precision}"] = [str(HERE / "peers/llama.py"), how, precision]
    return {name: command for name, command in commands.items() if only in name}


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )


def _check(contestants: list[Contestant]) -> None:
    """All train the same model from the same weights on the same tokens."""
    first = contestants[0]
    for each in contestants:
        if each.parameters != first.parameters:
            raise SystemExit(f"{each.name} has {each.parameters:,} parameters, {first.name} {first.parameters:,}")
        apart = max(abs(a - b) / a for a, b in zip(first.losses, each.losses, strict=True))
        if apart > EQUAL:
            raise SystemExit(f"the losses of {each.name} and {first.name} differ by {apart:.1%}")


def _figures(each: Contestant) -> dict[str, Any]:
    seconds = statistics.median(each.times)
    return {
        "name": each.name,
        "tokens_per_second": round(TOKENS / seconds),
        "fastest_tokens_per_second": round(TOKENS / min(each.times)),
        "milliseconds": round(seconds * 1000, 1),
        "steps": len(each.times),
        "step_peak_mib": each.step_mib,
        "process_peak_mib": each.process_mib,
        "parameters": each.parameters,
        "first_loss": round(each.losses[0], 5),
        "last_loss": round(each.losses[-1], 5),
    }


def _print(figures: list[dict[str, Any]]) -> None:
    print(f"{'':32}{'tokens/s':>10}{'fastest':>10}{'step MiB':>10}{'all MiB':>10}{'last loss':>11}")
    for row in figures:
        print(
            f"{row['name']:32}{row['tokens_per_second']:10,}{row['fastest_tokens_per_second']:10,}"
            f"{row['step_peak_mib']:10,.0f}{row['process_peak_mib']:10,.0f}{row['last_loss']:11.4f}"
        )


def _verdict(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """The program's speed over the best peer of its precision, and of all; its memory over the handwritten loop's."""
    ours = [row for row in figures if row["name"] == "dskc compiled bf16"]
    peers = [row for row in figures if not row["name"].startswith("dskc")]
    bf16 = [row for row in peers if row["name"].endswith("bf16")]
    if not ours or not bf16:
        return {}
    best = max(bf16, key=_speed)
    best_of_all = max(peers, key=_speed)
    by_hand = next((row for row in figures if row["name"] == "handwritten compiled bf16"), best)
    return {
        "best_bf16_peer": best["name"],
        "over_best_bf16_peer": round(_speed(ours[0]) / _speed(best), 3),
        "best_peer": best_of_all["name"],
        "over_best_peer": round(_speed(ours[0]) / _speed(best_of_all), 3),
        "memory_over_handwritten": round(ours[0]["step_peak_mib"] / by_hand["step_peak_mib"], 3),
    }


def _speed(row: dict[str, Any]) -> float:
    return float(row["tokens_per_second"])


if __name__ == "__main__":
    raise SystemExit(main())
