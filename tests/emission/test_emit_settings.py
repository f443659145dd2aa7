"""No setting is ignored: each one is refused by the gate, or something that writes the program reads it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

import dskc.dsl.schema
from dskc.compiler.build import check, make_plan
from dskc.compiler.emit import program
from dskc.compiler.gate import gate
from dskc.dsl.schema.base import Record
from dskc.dsl.schema.types import Type, settings_of
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec

from .compiled import compile_source, example, told

GPT, DIGITS = example("stdlib_gpt"), example("digits")
RANDOM = Source(
    "random.dsk",
    """dsk 1
model m {
  forward(images: [B, 4], labels: int[B]) { loss cross_entropy(linear(images, out: data.classes), labels) }
}
data { source: random(), classes: 3 }
training { steps: 2 }
optimizer sgd { lr: 0.1, momentum: 0.9, nesterov: true, clip: norm(1) }
schedule { decay: linear(floor: 1%) }
""",
)
LLAMA = Source(
    "llama.dsk",
    """dsk 1
import std.llama
model m {
  weights: hf("checkpoint")
  forward(tokens: int[B, S], targets: int[B, S]) {
    logits = llama(tokens, vocab: data.vocab, dim: 32, depth: 2, heads: 4)
    loss cross_entropy(logits, targets)
  }
}
data { source: tokens("x"), vocab: 99, sequence: 8 }
training { steps: 2 }
export { huggingface: "out" }
""",
)
SPECS: tuple[tuple[Source, tuple[str, ...]], ...] = (
    (GPT, ()),
    (GPT, ('data.source=jsonl("x")', 'data.tokenizer=file("t.json")', "data.vocab=99", 'observe.sample=sample("a")')),
    (GPT, ('data.source=parquet("x")', "data.tokenizer=bytes", "data.vocab=256")),
    (GPT, ('data.source=tokens("x")', "data.tokenizer=none", "data.vocab=99")),
    (GPT, ("memory.checkpointing=budget(200 MiB)",)),
    (GPT, ("training.loss_guard=skip()",)),
    (GPT, ("training.loss_guard=roll_back()",)),
    (DIGITS, ()),
    (RANDOM, ()),
    (LLAMA, ()),
    (GPT, ("parallel.world_size=4", "parallel.gpu_per_node=2", "parallel.data_parallel=4", "parallel.shard=optimizer")),
    (
        GPT,
        (
            "parallel.world_size=4",
            "parallel.pipeline_depth=2",
            "parallel.schedule=interleaved(2)",
            "parallel.tensor_model_parallel=2",
            "parallel.sequence_parallel=true",
        ),
    ),
    (GPT, ("parallel.world_size=2", "parallel.pipeline_depth=2", "parallel.schedule=zero_bubble(2)")),
)  # fmt: skip


def records() -> Iterator[type[Record]]:
    """Every record of the schema."""
    for found in pkgutil.iter_modules(dskc.dsl.schema.__path__):
        module = importlib.import_module(f"dskc.dsl.schema.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Record) and value.__module__ == module.__name__:
                yield value


def read_by_the_back_end(
    source: Source, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> set[tuple[str, str]]:
    """What the passes, the plan and the emission look at; the dump of all settings does not count."""
    checked = check(source, None, overrides)
    assert checked.spec is not None, told(checked.sink)
    assert checked.lowered is not None, told(checked.sink)
    reads: set[tuple[str, str]] = set()

    def recording(record: Record, name: str) -> Any:
        reads.add((type(record).__name__, name))
        return object.__getattribute__(record, name)

    with monkeypatch.context() as patched:
        patched.setattr(Spec, "canonical", lambda spec: {})
        patched.setattr(Record, "__getattribute__", recording)
        assert program(checked.spec, make_plan(checked.spec, checked.lowered), checked.sink) is not None
    return reads


def refused(record: type[Record], attribute: str) -> bool:
    """Whether the gate lets only the default through."""
    setting = next(s for s in settings_of(record).values() if s.attribute == attribute)
    rule = setting.rule.compiled
    return (
        not record.compiled
        or rule is False
        or (isinstance(rule, tuple) and len(rule) == 1)
        or only_refused(setting.type)
    )


def only_refused(type: Type) -> bool:
    """Whether every value but the default is a record without a back end."""
    inner = type.many or type
    return bool(inner.kinds) and not any(kind.compiled for kind in inner.kinds) and not inner.plain


def test_every_setting_is_read_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = set().union(*(read_by_the_back_end(source, flags, monkeypatch) for source, flags in SPECS))
    ignored = {
        f"{record.__name__}.{field.name}"
        for record in records()
        if record is not Record
        for field in fields(record)  # type: ignore[arg-type]
        if not refused(record, field.name) and (record.__name__, field.name) not in reads
    }
    # What follows from it is in `data.vocab`; machines are what `dskc plan` predicts for.
    machines = {name for name in ignored if name.split(".")[0] in ("Cluster", "Link", "Storage")}
    assert ignored - machines == {"Bpe.vocab"}


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ('export.onnx="x"', "export.onnx"),
        ("precision.compute=fp16", "precision.compute"),
        ("optimizer.l4=0.1", "optimizer.l4"),
        ("memory.offload=[optimizer]", "memory.offload"),
    ],
)
def test_without_a_back_end_it_is_refused(setting: str, name: str) -> None:
    checked = check(GPT, None, (setting,))
    assert checked.spec is not None, told(checked.sink)

    gate(checked.spec, checked.sink)

    assert [(d.code, name in d.message) for d in checked.sink if d.severity == "error"] == [("E0701", True)]


WORDS = """dsk 1
model m {{
  forward(tokens: int[B, S], targets: int[B, S]) {{
    x = embedding(tokens, size: data.vocab, dim: 4) as left
    y = embedding(targets, size: data.vocab, dim: 4) as right
    loss mse(mean(x, dim: 1), mean(y, dim: 1))
  }}
}}
data {{ source: text("a"), tokenizer: bytes, sequence: 4 }}
training {{ steps: 2 }}
{}
"""


def test_only_a_model_that_can_write_is_asked_for_a_sample() -> None:
    assert "generate" not in compile_source(Source("s.dsk", WORDS.format("")))["train.py"]
    with pytest.raises(AssertionError, match="E0307"):
        compile_source(Source("s.dsk", WORDS.format('observe { sample: sample("x") }')))


def test_a_batch_size_within_a_sample_gets_its_number() -> None:
    source = Source("s.dsk", RANDOM.text.replace("[B, 4]", "[B, 4, B]").replace("(images,", "(mean(images, dim: 2),"))

    assert "arrays.Field((4, 8))" in compile_source(source)["train.py"]


def test_lengths_are_counted_in_steps() -> None:
    """Two micro-batches of 8 samples of 256 tokens are a step: 16 samples, 4,096 tokens."""
    flags = ("training.steps=none", "training.tokens=409_601", "training.evaluate=every(8_192 tokens)")
    train = compile_source(GPT, *flags, "checkpoint.every=160 samples", "schedule.warmup=7%")["train.py"]

    for line in ("STEPS = 101 ", "EVALUATE_EVERY = 2 ", "CHECKPOINT_EVERY = 10 ", "WARMUP = 7 "):
        assert f"\n{line}" in train
