"""Programs with an expert axis compute what those of one process do: all gradients, and losses of some steps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from dskc.compiler.build import Checked, check, planned
from dskc.compiler.emit import program
from dskc.compiler.lower import lower
from dskc.compiler.shrink import SETTINGS, merged, one_process
from dskc.dsl.source import Source
from dskc.runtime import parity

from ..passes.examples import source_of

SIZES = (
    *("model.dim=16", "model.heads=2", "model.query_rank=16", "model.latent=16", "model.nope=8", "model.rotary=8"),
    *("model.value=8", "data.vocab=32", "data.sequence=16", "training.micro_batch_size=2", "training.steps=4"),
)
LAYOUTS = {
    "expert 2": ("parallel.world_size=2", "parallel.expert_parallel=2"),
    "expert 2 of data 4": ("parallel.world_size=4", "parallel.expert_parallel=2"),
    "expert 2, ZeRO": ("parallel.world_size=4", "parallel.expert_parallel=2", "parallel.shard=parameters"),
    "expert 2, pipeline 2": (
        "parallel.world_size=4",
        "parallel.expert_parallel=2",
        "parallel.pipeline_depth=2",
        "parallel.schedule=zero_bubble()",
        "training.gradient_accumulation=4",
    ),
    "expert 2, tensor 2": ("parallel.world_size=4", "parallel.tensor_model_parallel=2", "parallel.expert_parallel=2"),
}


@cache
def small() -> Source:
    """`deepseek_small` with fewer and narrower layers."""
    source = source_of("deepseek_small")
    text = source.text
    for old, new in (("hidden: 512", "hidden: 32"), ("hidden: 128", "hidden: 16"), ("repeat 3", "repeat 2")):
        assert old in text
        text = text.replace(old, new)
    return Source(source.name, text)


def written(checked: Checked, folder: Path) -> Path:
    """The program of a spec in a folder."""
    plan = planned(checked)
    assert checked.spec is not None, [d.message for d in checked.sink]
    assert plan is not None, [d.message for d in checked.sink]
    for name, text in program(checked.spec, plan, checked.sink).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_and_losses_are_those_of_one_process(layout: str, tmp_path: Path) -> None:
    several = check(small(), None, merged(SETTINGS, SIZES, LAYOUTS[layout]))
    assert several.spec is not None, [d.message for d in several.sink]
    alone = one_process(several.spec)
    one = written(Checked(alone, lower(alone, several.sink), several.sink), tmp_path / "one")
    ranks = written(several, tmp_path / "ranks")
    assert "layers.split_dispatch" in (ranks / "model.py").read_text("utf-8")

    report = parity.compare(one, ranks, several.spec.parallel.world_size)

    assert report.failures == []
    assert report.precision == "fp32"
    assert report.loss_error < 1e-6
