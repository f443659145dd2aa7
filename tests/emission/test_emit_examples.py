"""Programs of the examples do what their specs say: they learn their task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .compiled import compile_source, example, write
from .test_emit_model import losses, run


def best(folder: Path, metric: str) -> float:
    """The last validation value of a metric."""
    records: list[dict[str, Any]] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return float([record for record in records if record["phase"] == "validation"][-1][metric])


@pytest.mark.parametrize(("name", "accuracy", "flags"), [("digits", 0.97, ()), ("vit_digits", 0.90, ())])
def test_digits_are_read(name: str, accuracy: float, flags: tuple[str, ...], tmp_path: Path) -> None:
    folder = write(compile_source(example(name), "training.execution=eager", *flags), tmp_path / name)

    done = run(folder, "--device", "cpu")

    assert done.returncode == 0, done.stdout + done.stderr
    assert best(folder / "run", "accuracy") >= accuracy
    assert (folder / "run" / "loss.png").stat().st_size > 10_000


def test_deepseek_learns_and_balances_its_experts(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for i in range(40):
        words = " ".join(f"word{(i * 7 + j * j) % 13}" for j in range(400))
        (tmp_path / "text" / f"{i}.txt").write_text(words)
    flags = (
        f'data.source=text("{tmp_path}/text/*.txt")',
        "data.tokenizer=bytes",
        "data.vocab=256",
        "data.sequence=32",
        "training.steps=30",
        "training.micro_batch_size=4",
        "training.evaluate=none",
        "training.execution=eager",
        "schedule.warmup=1 steps",
        "observe.sample=none",
    )
    folder = write(compile_source(example("deepseek_small"), *flags), tmp_path / "deepseek")

    done = run(folder, "--device", "cpu")

    assert done.returncode == 0, done.stdout + done.stderr
    found = losses(folder / "run")
    assert found[-1] < 0.7 * found[0]
    assert any(value != 0 for value in router_biases(folder / "run" / "checkpoints" / "step-00000030"))


def router_biases(checkpoint: Path) -> list[float]:
    from safetensors.torch import load_file

    tensors = load_file(checkpoint / "model.safetensors")
    return [float(v) for name, tensor in tensors.items() if name.endswith("router.bias") for v in tensor]
