"""Whole programs: a run that stops and goes on, in its own layout or in another, ends where an undisturbed one does.

Each layout trains from start to end and leaves the checkpoint of its middle. From there others go on. The stream of
samples is compared by the ids that the ranks ask for.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from dskc.compiler.build import check, planned
from dskc.compiler.emit.program import program
from dskc.compiler.emit.writer import write
from dskc.dsl.source import Source
from dskc.runtime import checkpoint, order

from . import ranks
from .test_checkpoints import state_of
from .test_expert_programs import SIZES, small

STEPS, MIDDLE, BATCH = 4, 2, 8
GPT = """dsk 1
import std.transformer
model gpt {
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = embedding(tokens, size: data.vocab, dim: 16)
    repeat 4 as layers { x = decoder_layer(x, heads: 4, kv_heads: 2, hidden: 32, rope: 10_000) }
    loss cross_entropy(linear(rms_norm(x), out: data.vocab), targets)
  }
}
data { source: random(), vocab: 32, sequence: 8 }
"""
COMMON = (
    f"training.steps={STEPS}", f"checkpoint.every={MIDDLE} steps", "training.execution=eager", "data.validation=0",
    "data.source=random()", "data.tokenizer=none", "data.vocab=32", "training.evaluate=none",
    "observe.progress=false", "observe.tensorboard=false", "observe.sample=none", "precision.compute=fp32",
    "optimizer.lr=0.01",
)  # fmt: skip
Layout = dict[str, object]
ONE: Layout = {}
DENSE: dict[str, Layout] = {
    "one process": ONE,
    "data 2": {"data": 2},
    "data 4, ZeRO-3": {"data": 4, "shard": "parameters"},
    "data 2, ZeRO-1": {"data": 2, "shard": "optimizer"},
    "tensor 2": {"tensor": 2},
    "tensor 2 x data 2, ZeRO-2": {"tensor": 2, "data": 2, "shard": "gradients"},
    "pipeline 2": {"pipeline": 2},
    "pipeline 2 x data 2, ZeRO-1, interleaved": {
        "pipeline": 2, "data": 2, "shard": "optimizer", "schedule": "interleaved(2)",
    },
}  # fmt: skip
EXPERTS: dict[str, Layout] = {
    "one process": ONE,
    "experts 2": {"data": 2, "expert": 2},
    "experts 2 of data 4, ZeRO-3": {"data": 4, "expert": 2, "shard": "parameters"},
}
SETTINGS = {
    "data": "data_parallel", "tensor": "tensor_model_parallel", "pipeline": "pipeline_depth",
    "expert": "expert_parallel", "shard": "shard", "schedule": "schedule",
}  # fmt: skip


def world(layout: Layout) -> int:
    """Ranks of a layout."""
    data, tensor, pipeline = (int(str(layout.get(axis, 1))) for axis in ("data", "tensor", "pipeline"))
    return data * tensor * pipeline


def flags(layout: Layout, sizes: Sequence[str] = ()) -> tuple[str, ...]:
    """Settings of a layout, with the batch of all others."""
    data, count = int(str(layout.get("data", 1))), world(layout)
    chosen = {SETTINGS[axis]: value for axis, value in layout.items()}
    batch = ("training.micro_batch_size=2", f"training.gradient_accumulation={BATCH // 2 // data}")
    ranks = (f"parallel.world_size={count}", f"parallel.gpu_per_node={count}") if count > 1 else ()
    return (*sizes, *COMMON, *batch, *ranks, *(f"parallel.{name}={value}" for name, value in chosen.items()))


def written(source: Source, layout: Layout, folder: Path, sizes: Sequence[str]) -> Path:
    """The program of a layout."""
    checked = check(source, None, flags(layout, sizes))
    plan = planned(checked)
    assert checked.spec is not None, [d.message for d in checked.sink]
    assert plan is not None, [d.message for d in checked.sink]
    files = program(checked.spec, plan, checked.sink)
    assert files is not None, [d.message for d in checked.sink]
    write(folder, files)
    return folder


Seen = dict[int, int]  # the id of the sample at each place of the stream
Trained = list[tuple[Seen, int]]


def trains(folder: str, runs: Sequence[str]) -> Trained:
    """One rank of the program in a folder, once for each run: the samples it asked for, and its first step's place."""
    found = []
    for run in runs:
        seen: Seen = {}
        original = order.sample_ids

        def sample_ids(first: int, *rest: int, seen: Seen = seen, original=original):  # type: ignore[no-untyped-def]
            epochs, ids = original(first, *rest)
            seen.update(enumerate(ids.tolist(), first))
            return epochs, ids

        with loaded(folder) as train, mock.patch.object(order, "sample_ids", sample_ids):
            train.record = mock.MagicMock()
            train.train(Path(run), None, torch.device("cpu"))
        found.append((seen, min(seen, default=0)))
    return found


@contextmanager
def loaded(folder: str) -> Iterator[Any]:
    """The program's `train.py`, imported anew: its modules keep the ranks of their mesh."""
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("train")
    finally:
        sys.path.remove(folder)
        for name in ("train", "model", "parallel"):
            sys.modules.pop(name, None)


def together(found: Sequence[Trained], run: int) -> Seen:
    """What all ranks asked for in one run; those that ask for the same place get the same sample."""
    seen: Seen = {}
    for rank in found:
        for place, sample in rank[run][0].items():
            assert seen.setdefault(place, sample) == sample
    return seen


def off(one: Path, other: Path) -> tuple[float, str]:
    """The largest error of the state in `one`, relative to that in `other`, and where it is."""
    errors = []
    for kind in (checkpoint.MODEL, checkpoint.TRAINING):
        found, expected = state_of(one, kind), state_of(other, kind)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            distance = torch.linalg.vector_norm((found[name] - tensor).double())
            errors.append(((distance / (torch.linalg.vector_norm(tensor.double()) + 1e-30)).item(), name))
    return max(errors)


def resumed(
    source: Source, layouts: dict[str, Layout], sources: dict[str, Sequence[str]], folder: Path,
    sizes: Sequence[str] = (),
) -> int:  # fmt: skip
    """Trains in each layout, and on from the middle of others; how many ordered pairs of layouts were compared."""
    numbers = {name: folder / f"{number}" for number, name in enumerate(layouts)}
    expected: Seen = {}
    for name, layout in layouts.items():
        path = written(source, layout, numbers[name], sizes)
        seen = together(ranks.run(trains, world(layout), str(path), [str(path / "straight")]), 0)
        assert sorted(seen) == list(range(STEPS * BATCH))
        expected = expected or seen
        assert seen == expected
    last, pairs = f"checkpoints/step-{STEPS:08}", 0
    undisturbed = numbers["one process"] / "straight" / last
    for name, layout in layouts.items():
        runs = []
        for start in (name, *sources[name]):
            runs.append(numbers[name] / f"from-{numbers[start].name}")
            middle = f"checkpoints/step-{MIDDLE:08}"
            shutil.copytree(numbers[start] / "straight" / middle, runs[-1] / middle)
        found = ranks.run(trains, world(layout), str(numbers[name]), [str(run) for run in runs])
        for number, (start, run) in enumerate(zip((name, *sources[name]), runs, strict=True)):
            assert together(found, number) == {p: s for p, s in expected.items() if p >= MIDDLE * BATCH}
            error, where = off(run / last, undisturbed)
            assert error <= 1e-5, f"from {start} to {name}: {where} is {error:.1e} off"
            pairs += start != name
        same = numbers[name] / "straight" / last
        assert off(runs[0] / last, same) == (0.0, off(runs[0] / last, same)[1]), name
    return pairs


def test_every_layout_goes_on_from_others(tmp_path: Path) -> None:
    names = list(DENSE)
    sources = {name: [names[(at + step) % len(names)] for step in (1, 3)] for at, name in enumerate(names)}
    assert resumed(Source("gpt.dsk", GPT), DENSE, sources, tmp_path) == 16


def test_experts_go_on_in_every_layout(tmp_path: Path) -> None:
    sources = {name: [other for other in EXPERTS if other != name] for name in EXPERTS}
    sizes = [*(size for size in SIZES if size.startswith("model.")), "data.sequence=16"]
    assert resumed(small(), EXPERTS, sources, tmp_path, sizes) == 6
