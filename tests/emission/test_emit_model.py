"""What the emitted model computes: the same as `transformers` computes, and what training needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dskc.dsl.source import Source
from dskc.runtime import arrays

from .compiled import ROOT, compile_source, example, load_model, write

TINY = (
    "model.dim=64",
    "model.depth=2",
    'data.source=text("{stdlib}/json/*.py")',
    "data.tokenizer=bpe(vocab: 300)",
    "data.sequence=32",
    "training.micro_batch_size=4",
    "training.execution=eager",
    "training.evaluate=every(2 steps)",
    "checkpoint.every=2 steps",
    "observe.log_every=1",
    "observe.sample=sample(tokens: 5)",
)
NAMES = {
    "embedding": "model.embed_tokens",
    "rms_norm": "model.norm",
    "linear": "lm_head",
    "layers": "model.layers",
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
    "self_attention": "self_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "o_proj",
    "swiglu": "mlp",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
}


def test_equals_llama(tmp_path: Path) -> None:
    module = load_model(compile_source(example("stdlib_gpt"), *TINY), tmp_path)
    model = module.Gpt()
    model.initialize(0)
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=704, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=4, rms_norm_eps=1e-6, rope_theta=10_000.0, tie_word_embeddings=False,
    )  # fmt: skip
    llama = LlamaForCausalLM(config)
    renamed = {
        ".".join(NAMES.get(part, part) for part in name.split(".")): value for name, value in model.state_dict().items()
    }
    llama.load_state_dict(renamed)
    torch.manual_seed(0)
    tokens, targets = torch.randint(0, 300, (2, 16)), torch.randint(0, 300, (2, 16))

    ours = model.objectives(tokens, targets)["loss"]
    theirs = llama(tokens).logits
    loss = torch.nn.functional.cross_entropy(theirs.flatten(0, 1), targets.flatten())
    ours.backward()
    loss.backward()

    torch.testing.assert_close(model(tokens), theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, loss, rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        other = dict(llama.named_parameters())[".".join(NAMES.get(part, part) for part in name.split("."))]
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["digits", "vit_digits", "deepseek_small", "bert", "clip"])
def test_every_objective_is_finite_and_every_parameter_learns(name: str, tmp_path: Path) -> None:
    """Whatever the graph, gradients reach each parameter of the emitted model."""
    small = {"deepseek_small": ("data.sequence=16",), "bert": (), "clip": ()}.get(name, ())
    source = example(name)
    module = load_model(compile_source(source, *small), tmp_path)
    model = next(v for v in vars(module).values() if isinstance(v, type) and hasattr(v, "objectives"))()
    model.initialize(1)
    inputs = batch(source, *small)

    outcome = model.objectives(**inputs)
    outcome["loss"].backward()

    assert all(torch.isfinite(value).all() for value in outcome.values())
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert idle == []


def batch(source: Source, *flags: str) -> dict[str, torch.Tensor]:
    """Two random samples of what the model declares."""
    from dskc.compiler.build import check

    checked = check(source, None, flags)
    assert checked.spec is not None
    assert checked.lowered is not None
    known = {"B": 2, "S": checked.spec.data.sequence or 8}
    most = min(n for n in (checked.spec.data.vocab, checked.spec.data.classes) if n)
    found = {}
    for name, tensor in checked.lowered.inputs:
        shape = [dim if isinstance(dim, int) else known[str(dim)] for dim in tensor.shape]
        found[name] = torch.randint(0, most, shape) if tensor.kind == "int" else torch.randn(shape)
    return found


def run(folder: Path, *flags: str, standalone: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs the program as a person would; a standalone one where dskc cannot be imported."""
    environment = {**os.environ, "DSKC_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = "" if standalone else str(ROOT / ".typing")
    command = [sys.executable, str(folder / "train.py"), *flags]
    return subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, timeout=300)


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if row["phase"] == "train"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that has run three steps."""
    folder = write(
        compile_source(example("stdlib_gpt"), *TINY, "training.steps=6"), tmp_path_factory.mktemp("a") / "gpt"
    )
    done = run(folder, "--steps", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_trains_and_its_loss_falls(trained: Path) -> None:
    found = losses(trained / "run")

    assert len(found) >= 3
    assert found[2] < found[0]


def test_goes_on_exactly_where_it_stopped(trained: Path) -> None:
    assert run(trained).returncode == 0
    whole = run(trained, "--run", str(trained / "whole"))

    assert whole.returncode == 0, whole.stderr
    assert losses(trained / "run") == losses(trained / "whole")
    weights = "checkpoints/step-00000006/model.safetensors"
    assert (trained / "run" / weights).read_bytes() == (trained / "whole" / weights).read_bytes()


def test_refuses_the_checkpoint_of_another_model(trained: Path) -> None:
    other = write(compile_source(example("stdlib_gpt"), *TINY[1:], "model.dim=32"), trained.parent / "other")

    done = run(other, "--run", str(trained / "run"))

    assert done.returncode == 1
    assert "another model" in done.stderr
    assert "Traceback" not in done.stderr


def test_standalone_runs_without_dskc(tmp_path: Path) -> None:
    folder = write(compile_source(example("stdlib_gpt"), *TINY, standalone=True), tmp_path / "alone")
    (folder / "dskc.py").write_text("raise ImportError('not installed')\n")

    done = run(folder, "--steps", "2", standalone=True)

    assert done.returncode == 0, done.stderr
    assert "from dskc." not in (folder / "train.py").read_text() + (folder / "model.py").read_text()


def test_not_a_number_stops_the_run(tmp_path: Path) -> None:
    flags = (*TINY, "training.steps=40", "optimizer.lr=1e30", "optimizer.clip=none", "schedule.warmup=0 steps")
    folder = write(compile_source(example("stdlib_gpt"), *flags), tmp_path / "nan")

    done = run(folder)

    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "step" in done.stderr
    assert "Traceback" not in done.stderr


PLAIN = """dsk 1
model m { forward(x: [B, 6], labels: int[B]) { loss cross_entropy(linear(x, out: data.classes), labels) } }
data { source: random(), classes: 3 }
training { steps: 4, execution: eager }
optimizer adamw { lr: 0.1, betas: (0.8, 0.9), eps: 1e-6, weight_decay: 0.3, clip: norm(0.2) }
schedule { warmup: 2 steps, decay: linear }
observe { log_every: 1, tensorboard: false }
"""


def plain_losses(files: dict[str, str], folder: Path) -> torch.Tensor:
    """Loss and gradient norm of each step by torch alone, eight samples at a time."""
    model = load_model(files, folder).M()
    model.initialize(0)
    fields = {"x": arrays.Field((6,)), "labels": arrays.Field((), 3)}
    data = arrays.Random(fields, 4_096, 0, torch.device("cpu"))
    updates = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3)
    rows = []
    for step, rate in enumerate((0.05, 0.1, 0.1, 0.05)):
        batch = data.batch(8 * step, 8)
        updates.param_groups[0]["lr"] = rate
        updates.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["labels"])
        loss.backward()
        rows.append((loss.item(), torch.nn.utils.clip_grad_norm_(model.parameters(), 0.2).item()))
        updates.step()
    return torch.tensor(rows)


@pytest.mark.parametrize(("compute", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_the_program_trains_as_torch_does(compute: str, tolerance: float, tmp_path: Path) -> None:
    for micro, parts in ((8, 1), (2, 4)):
        flags = (f"training.micro_batch_size={micro}", f"training.gradient_accumulation={parts}")
        files = compile_source(Source("s.dsk", PLAIN), *flags, f"precision.compute={compute}")
        folder = write(files, tmp_path / str(parts))
        assert run(folder).returncode == 0
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        records = [entry for entry in map(json.loads, lines) if entry["phase"] == "train"]
        found = torch.tensor([(entry["loss"], entry["gradient_norm"]) for entry in records])

        torch.testing.assert_close(found, plain_losses(files, folder), rtol=tolerance, atol=tolerance)
