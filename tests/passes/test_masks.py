"""Losses whose targets may be ignored are known, so that ranks and micro-batches divide by those that are not."""

from __future__ import annotations

import pytest

from dskc.compiler.node import Node
from dskc.compiler.placement import Move
from dskc.dsl.source import Source

from .examples import DATA, TENSOR, placed, plan_of

SPEC = """dsk 1

model masked {{
  forward(tokens: int[B, S], targets: int[B, S]) {{
    logits = linear(embedding(tokens, size: data.vocab, dim: 8), out: data.vocab)
    {loss}
  }}
}}

data {{
  source: random()
  vocab: 64
  sequence: 16
}}

training {{
  micro_batch_size: 4
  steps: 2
}}
"""
COUNT = (("data", Move("all_reduce", "targets", 1)),)
BLOCK = """
block inner(logits: [B, S, V], targets: int[B, S]) -> [] {{
  return cross_entropy(logits, targets{ignore})
}}
"""


def losses(text: str, *overrides: str) -> list[Node]:
    plan = plan_of(Source("masked.dsk", text), *overrides)
    return [node for body in plan.graphs for node in plan.nodes(body) if node.op == "cross_entropy"]


@pytest.mark.parametrize(
    ("loss", "masks"),
    [
        ("loss cross_entropy(logits, targets)", [None]),
        ("loss cross_entropy(logits, slice(targets, dim: 1, start: 0))", [None]),
        ("loss cross_entropy(logits, targets, ignore: 0)", [0]),
        ("loss cross_entropy(logits, where(tokens > 2, -100, targets))", [0]),
        (
            "loss cross_entropy(logits, targets, ignore: 0) as a\n"
            "loss cross_entropy(logits, targets, ignore: 1) as b\n"
            "loss cross_entropy(logits * 2, targets, ignore: 0) as c",
            [0, 1, 0],
        ),
    ],
)
def test_targets_that_count_are_known_before_the_model_runs(loss: str, masks: list[int | None]) -> None:
    for overrides in ((), DATA, TENSOR):
        found = losses(SPEC.format(loss=loss), *overrides)
        assert [node.attrs.get("counted") for node in found] == masks
        assert not any("masked" in node.attrs or dict(node.moves).get("data") for node in found)


def test_targets_that_the_model_makes_are_counted_as_it_runs() -> None:
    targets = "where(sum(logits, dim: 2) > 0, -100, targets)"
    (found,) = losses(SPEC.format(loss=f"loss cross_entropy(logits, {targets})"), *DATA)
    assert found.moves == COUNT
    assert "counted" not in found.attrs


@pytest.mark.parametrize(("ignore", "wanted"), [(", ignore: 0", COUNT), ("", ())])
def test_a_block_is_masked_only_if_its_targets_are(ignore: str, wanted: tuple[object, ...]) -> None:
    text = SPEC.replace("model masked", BLOCK + "\nmodel masked")
    (found,) = losses(text.format(loss="loss inner(logits, targets)", ignore=ignore), *DATA)
    assert found.moves == wanted
    assert found.attrs.get("masked", False) == bool(wanted)


def test_parts_of_the_targets_are_as_good_as_they() -> None:
    found = [node for node in placed("deepseek_small", *DATA).nodes("forward") if node.op == "cross_entropy"]
    assert len(found) == 2
    assert all(not node.moves and not node.attrs.keys() & {"masked", "counted"} for node in found)
