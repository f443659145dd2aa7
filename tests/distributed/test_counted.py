"""Losses over targets that are left out: a step of uneven micro-batches, in any layout, equals one large batch."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dskc.dsl.source import Source
from dskc.runtime.parity import assemble, loaded, observe

from ..emission.compiled import unchecked_source, write
from . import ranks

SPEC = Source("masked.dsk", (Path(__file__).parents[1] / "specs" / "masked.dsk").read_text("utf-8"))
# Ranks, those of the data axis, settings.
LAYOUTS: dict[str, tuple[Any, ...]] = {
    "data": (2, 2),
    "zero": (2, 2, "parallel.shard=parameters"),
    "tensor": (2, 1, "parallel.tensor_model_parallel=2"),
    "pipeline": (2, 1, "parallel.pipeline_depth=2"),
    "pipeline and data": (4, 2, "parallel.pipeline_depth=2"),
}
Result = tuple[dict[str, Tensor], tuple[float, ...], dict[str, float]]


def run(folder: Path, count: int, *overrides: str) -> Result:
    """Gradients of the first step by name, the losses, and the evaluation after the last step."""
    write(unchecked_source(SPEC, *overrides), folder)
    where = str(folder), str(folder / "run")
    found = [observe(*where, False)] if count == 1 else ranks.run(observe, count, *where, False, timeout=300.0)
    gradients, faults = assemble([part for parts, _ in found for part in parts])
    assert not faults
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    (last,) = [row for row in rows if row["phase"] == "validation"]
    return gradients, found[0][1], {name: last[name] for name in ("loss", "cross_entropy", "large", "perplexity")}


def expected(model: Callable[[Tensor], Any], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The objectives of one batch, in plain torch."""
    x = model.first(batch["images"].flatten(1)).relu()  # type: ignore[attr-defined]
    y = model.middle(x).relu()  # type: ignore[attr-defined]
    logits, further = model.head(y), model.other_head(y)  # type: ignore[attr-defined]
    kept = torch.where(batch["labels"] > 7, batch["labels"], -100)
    first = F.cross_entropy(logits, batch["labels"], ignore_index=3)
    large = F.cross_entropy(further, kept)
    right = (further.argmax(-1) == kept)[kept >= 0].float().mean()
    loss = first + 0.5 * large + 0.1 * x.square().mean()
    return {"loss": loss, "cross_entropy": first, "large": large, "accuracy": right, "perplexity": large.exp()}


def close(found: dict[str, Tensor], wanted: dict[str, Tensor], bound: float) -> None:
    """Within `bound` of the length of each."""
    assert set(found) == set(wanted)
    for name, each in wanted.items():
        assert (found[name] - each).norm() <= bound * each.norm(), name


def built(program: ModuleType) -> tuple[Any, Any, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        training, validation = program.load_data(torch.device("cpu"))
    model = program.Masked()
    model.initialize(program.SEED)
    return model, training, validation


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Result]:
    """One process that takes all samples of a step at once."""

    @cache
    def result(data: int) -> Result:
        folder = tmp_path_factory.mktemp("large")
        return run(folder, 1, f"training.micro_batch_size={16 * data}", "training.gradient_accumulation=1")

    return result


def test_uneven_micro_batches_equal_plain_torch(tmp_path: Path) -> None:
    gradients, losses, _ = run(tmp_path, 1)
    with loaded(str(tmp_path)) as program:
        model, training, _ = built(program)
        batches = [training.batch(4 * part, 4) for part in range(4)]
        counts = torch.stack([program.counts(**batch) for batch in batches])
        assert counts[:, 1].max() > counts[:, 1].min() == 0  # a micro-batch without any
        loss = expected(model, training.batch(0, 16))["loss"]
        loss.backward()
        assert losses[0] == pytest.approx(loss.item(), rel=1e-6)
        close(gradients, {name: p.grad for name, p in model.named_parameters()}, 1e-6)


def test_an_evaluation_equals_plain_torch_over_all_samples(tmp_path: Path) -> None:
    write(unchecked_source(SPEC), tmp_path)
    with loaded(str(tmp_path)) as program, torch.no_grad():
        model, _, validation = built(program)
        found = program.validate(model, validation)
        batches = list(validation.in_order(50))
        whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        wanted = expected(model, whole)
    assert {name: found[name] for name in wanted} == pytest.approx({k: v.item() for k, v in wanted.items()}, rel=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_uneven_micro_batches_of_ranks_equal_one_batch(
    layout: str, large: Callable[[int], Result], tmp_path: Path
) -> None:
    world, data, *settings = LAYOUTS[layout]
    gradients, losses, evaluation = run(tmp_path, world, f"parallel.world_size={world}", *settings)
    wanted = large(data)
    close(gradients, wanted[0], 1e-6)
    assert losses == pytest.approx(wanted[1], rel=1e-5)
    assert evaluation == pytest.approx(wanted[2], rel=1e-5)


SPLIT = """dsk 1

import std.transformer

model split {
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = decoder_layer(embedding(tokens, size: 64, dim: 64), heads: 4)
    loss cross_entropy(x, where(tokens > 3, -100, targets))
  }
}

data {
  source: random()
  vocab: 64
  sequence: 16
}

training {
  steps: 1
}
"""


def test_targets_are_counted_before_a_layout_splits_them() -> None:
    layout = ("parallel.world_size=2", "parallel.tensor_model_parallel=2", "parallel.sequence_parallel=true")
    text = unchecked_source(Source("split.dsk", SPLIT), *layout)["model.py"]
    objectives, counts = text[text.index("def objectives") :].split("def counts")
    assert "collectives.split(targets, TENSOR, 1)" in objectives
    assert "collectives" not in counts
