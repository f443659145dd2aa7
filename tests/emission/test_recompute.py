"""`memory.checkpointing`: the same gradients and the same buffers, for less memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from dskc.dsl.source import Source
from dskc.runtime.layers import Router

from .compiled import compile_source, example, load_model
from .test_emit_model import batch

KINDS = ("sqrt", "full", "selective")
SMALLER = {
    "resnet50": (("224, 224", "64, 64"), ("1_000", "data.classes"), ("random()", "random(), classes: 10")),
    "bert": (("dim: 768, depth: 12, heads: 12", "dim: 32, depth: 4, heads: 4"), ("30_522", "99"), ("128", "16")),
    "clip": (
        ("224, 224", "32, 32"), ("patch: 32", "patch: 16"), ("768", "32"), ("depth: 12", "depth: 3"),
        ("512", "32"), ("heads: 12", "heads: 4"), ("heads: 8", "heads: 4"), ("49_408", "99"),
    ),
    "deepseek_small": (("sequence: 128", "sequence: 16"),),
    "stdlib_gpt": (("dim: 256", "dim: 64"), ("sequence: 256", "sequence: 16")),
}  # fmt: skip
NESTED = """dsk 1
model m {
  block pair(x: [B, 16]) {
    repeat 3 as inner { x = x + dropout(tanh(linear(x, out: 16)), rate: 0.3) }
    return x
  }
  forward(images: [B, 16], labels: int[B]) {
    y = relu(images)
    repeat 5 as outer { x = pair(y), y = batch_norm(x + y) }
    repeat 2 as late { y = pair(y) }
    loss cross_entropy(linear(y, out: data.classes), labels)
  }
}
data { source: random(), classes: 3 }
training { steps: 2 }
optimizer adamw { lr: 0.1 }
"""


def source(name: str) -> Source:
    if name == "nested":
        return Source("nested.dsk", NESTED)
    text = example(name).text
    for old, new in SMALLER.get(name, ()):
        assert old in text
        text = text.replace(old, new)
    return Source(f"{name}.dsk", text)


def model_of(module: ModuleType) -> nn.Module:
    kind: Callable[[], nn.Module] = next(
        v for v in vars(module).values() if isinstance(v, type) and hasattr(v, "objectives")
    )
    model = kind()
    model.initialize(1)  # type: ignore[operator]
    return model


def outcome(name: str, kind: str, folder: Path, compiled: bool = False) -> dict[str, torch.Tensor]:
    """Loss, gradients, buffers and loads of experts after one step."""
    given = source(name)
    model = model_of(load_model(compile_source(given, f"memory.checkpointing={kind}"), folder / kind))
    torch.manual_seed(3)
    inputs = batch(given)
    objectives = model.objectives
    loss = (torch.compile(objectives, backend="aot_eager_decomp_partition") if compiled else objectives)(**inputs)[
        "loss"
    ]  # type: ignore[arg-type,operator]
    loss.backward()
    found = {"loss": loss.detach()}
    found |= {f"gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    found |= dict(model.named_buffers())
    found |= {f"load of {n}": m.load for n, m in model.named_modules() if isinstance(m, Router)}
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["nested", "digits", "vit_digits", "stdlib_gpt", "deepseek_small", "clip", "bert"])
def test_gradients_and_buffers_are_the_same_to_the_bit(name: str, kind: str, tmp_path: Path) -> None:
    assert "recompute." in compile_source(source(name), f"memory.checkpointing={kind}")["model.py"]
    plain, recomputed = (outcome(name, each, tmp_path) for each in ("off", kind))

    assert plain.keys() == recomputed.keys()
    assert [key for key in plain if not torch.equal(plain[key], recomputed[key])] == []


def test_several_repeats_in_a_called_block(tmp_path: Path) -> None:
    plain, recomputed = (outcome("resnet50", each, tmp_path) for each in ("off", "sqrt"))

    assert [key for key in plain if not torch.equal(plain[key], recomputed[key])] == []


@pytest.mark.parametrize(("name", "kind"), [("stdlib_gpt", "selective"), ("digits", "full"), ("stdlib_gpt", "sqrt")])
def test_compiled(name: str, kind: str, tmp_path: Path) -> None:
    plain, recomputed = (outcome(name, each, tmp_path, compiled=each == kind) for each in ("off", kind))

    for key, value in plain.items():
        torch.testing.assert_close(recomputed[key], value, rtol=1e-4, atol=1e-5, msg=key)
