"""Losses whose targets may be ignored are known, so that ranks count those that are not."""

from __future__ import annotations

import pytest

from dskc.compiler.placement import Move
from dskc.dsl.source import Source

from .examples import DATA, placed, plan_of

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


def moves(loss: str, *overrides: str) -> tuple[tuple[str, Move], ...]:
    plan = plan_of(Source("masked.dsk", SPEC.format(loss=loss)), *overrides)
    return next(node.moves for node in plan.nodes("forward") if node.op == "cross_entropy")


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        ("loss cross_entropy(logits, targets)", ()),
        ("loss cross_entropy(logits, targets, ignore: 0)", COUNT),
        ("loss cross_entropy(logits, where(targets > 2, -100, targets))", COUNT),
    ],
)
def test_ranks_count_targets_that_may_be_ignored(loss: str, wanted: tuple[object, ...]) -> None:
    assert moves(loss, *DATA) == wanted


def test_parts_of_the_targets_are_as_good_as_they() -> None:
    losses = [node for node in placed("deepseek_small", *DATA).nodes("forward") if node.op == "cross_entropy"]
    assert len(losses) == 2
    assert all(not node.moves and "masked" not in node.attrs for node in losses)
