"""The time of a step: closed forms of pipelines, and that a better machine is never slower."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dskc.compiler.build import check, make_plan
from dskc.compiler.cluster import PRESETS, Link
from dskc.compiler.layout import Layout
from dskc.compiler.pipeline.timeline import StageTime, simulate
from dskc.compiler.planner.predict import Prediction, predict
from dskc.compiler.planner.show import WIDTH, prediction_data, shown
from dskc.compiler.planner.step import RankWork, idle_seconds, pipeline_seconds
from dskc.dsl.source import Source

H100 = PRESETS["H100"]
EVEN = StageTime(1.0, 1.0, 1.0)


def rank(seconds: float = 3.0) -> RankWork:
    return RankWork(seconds / 3, 2 * seconds / 3, 0.0, 0.0, 0.0, 0, 1)


@pytest.mark.parametrize("depth", [2, 4, 8])
@pytest.mark.parametrize("micro", [8, 16, 64])
def test_bubble_of_even_stages_is_that_of_the_papers(depth: int, micro: int) -> None:
    """(p - 1) micro-batches idle for 1F1B, 1/v of that interleaved: Narayanan et al. 2021, section 2.2."""
    plain, twice = Layout(pipeline=depth), Layout(pipeline=depth, schedule="interleaved", chunks=2)
    ranks = [rank() for _ in range(depth)]

    assert idle_seconds(ranks, plain, micro) == pytest.approx(3 * (depth - 1))
    assert idle_seconds(ranks, twice, micro) == pytest.approx(3 * (depth - 1) / 2)
    assert pipeline_seconds(plain, micro, [EVEN] * depth) == pytest.approx(3 * (micro + depth - 1))
    halves = [StageTime(0.5, 0.5, 0.5)] * (2 * depth)
    assert pipeline_seconds(twice, micro, halves) == pytest.approx(3 * micro + 3 * (depth - 1) / 2)


@pytest.mark.parametrize("schedule", ["one_f_one_b", "gpipe", "interleaved", "zero_bubble"])
def test_many_micro_batches_are_what_simulating_all_of_them_gives(schedule: str) -> None:
    chunks = 2 if schedule == "interleaved" else 1
    layout = Layout(pipeline=4, schedule=schedule, chunks=chunks)
    times = [StageTime(1.0 + 0.1 * i, 1.1, 0.9, 0.05) for i in range(layout.stages)]

    assert pipeline_seconds(layout, 64, times) == pytest.approx(simulate(layout, 64, times).duration, rel=1e-6)


SPEC = """
dsk 1
import std.transformer
model m {
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = embedding(tokens, size: data.vocab, dim: 1_024)
    repeat 8 as layers { x = decoder_layer(x, heads: 8, hidden: 4_096) }
    loss cross_entropy(linear(rms_norm(x), out: data.vocab), targets)
  }
}
data { source: random(), vocab: 8_192, sequence: 1_024 }
training { steps: 10, micro_batch_size: 4, gradient_accumulation: 8 }
precision { compute: bf16 }
cluster { gpu: "H100" }
parallel { world_size: 8 }
"""


def predicted(*flags: str) -> Prediction:
    found = check(Source("m.dsk", SPEC), None, flags)
    assert found.spec is not None, [finding.message for finding in found.sink]
    assert found.lowered is not None
    return predict(make_plan(found.spec, found.lowered), found.spec)


LAYOUTS: dict[str, tuple[str, ...]] = {
    "data": (),
    "tensor": ("parallel.tensor_model_parallel=4", "parallel.sequence_parallel=true"),
    "pipeline": ("parallel.pipeline_depth=4", "parallel.schedule=interleaved(2)"),
    "parameters": ("parallel.shard=parameters",),
    "all": ("parallel.pipeline_depth=2", "parallel.tensor_model_parallel=2", "parallel.shard=optimizer"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "change",
    [
        "cluster.peak=2000 TFLOPS", "cluster.memory_bandwidth=9 TB/s",
        "cluster.node_link=link(bandwidth: 900 GB/s, latency: 1 us)",
        "cluster.network=link(bandwidth: 900 GB/s, latency: 1 us)",
    ],
)  # fmt: skip
def test_a_better_machine_is_never_slower(layout: str, change: str) -> None:
    assert predicted(*LAYOUTS[layout], change).step.seconds <= predicted(*LAYOUTS[layout]).step.seconds


@pytest.mark.parametrize("layout", LAYOUTS)
def test_recomputing_takes_time_and_more_of_it_takes_more(layout: str) -> None:
    off, some, full = (
        predicted(*LAYOUTS[layout], f"memory.checkpointing={way}").step.seconds for way in ("off", "selective", "full")
    )

    assert off < some < full


def test_full_recomputation_runs_forward_of_the_layers_again() -> None:
    step = predicted("memory.checkpointing=full").step.ranks[0]

    assert 0.7 * step.forward < step.again <= step.forward


def test_a_step_is_the_sum_of_its_parts() -> None:
    step = predicted(*LAYOUTS["all"]).step

    assert step.seconds == pytest.approx(step.busy + step.bubble * step.seconds + step.exposed + step.optimizer)


def test_operations_of_the_model_do_not_depend_on_the_layout() -> None:
    for layout in ("tensor", "pipeline", "parameters"):
        assert predicted(*LAYOUTS[layout]).flops / predicted(*LAYOUTS[layout]).tokens == pytest.approx(
            predicted().flops / predicted().tokens, rel=1e-3
        )


def test_an_overlapped_data_axis_hides_but_its_last_piece() -> None:
    hidden, shown_ = (predicted(f"communication.overlap={word}").step for word in ("true", "false"))

    assert hidden.exposed < shown_.exposed == pytest.approx(shown_.data[0][0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_report_fits_its_columns_and_gives_a_reason_for_each_axis(layout: str) -> None:
    found = check(Source("m.dsk", SPEC), None, LAYOUTS[layout])
    assert found.spec is not None
    assert found.lowered is not None
    plan = make_plan(found.spec, found.lowered)
    prediction = predict(plan, found.spec)
    text = shown(plan, found.spec, prediction)
    data: dict[str, Any] = prediction_data(plan, found.spec, prediction)

    assert max(map(len, text.splitlines())) <= WIDTH
    for axis in ("tensor", "data"):
        assert (f"  {axis} {getattr(prediction.layout, axis)}:" in text) == (getattr(prediction.layout, axis) > 1)
    assert len(data["stages"]) == prediction.layout.pipeline
    assert sum(sum(stage["layers"]) for stage in data["stages"]) == 8


def test_own_numbers_of_a_machine_win_over_its_preset() -> None:
    machine = predicted("cluster.memory=10 GiB", "cluster.network=link(bandwidth: 1 GB/s)").machine

    assert machine.memory == 10 * 2**30
    assert machine.network == Link(1e9, 5e-6)
    assert machine.peak("bf16") == H100.peak("bf16")
    scaled = predicted("cluster.peak=494.7 TFLOPS").machine
    assert scaled.peak("fp8") == pytest.approx(H100.peak("fp8") / 2)
    assert replace(H100, nodes=1) == replace(machine, memory=H100.memory, network=H100.network, given=())


def test_stages_of_a_pipeline_are_priced_as_they_run() -> None:
    """`auto` compiles one stage on a GPU, and no stage of a pipeline; the plan says why."""
    staged = ("parallel.world_size=2", "parallel.pipeline_depth=2", "training.gradient_accumulation=4")
    alone, eager = predicted(), predicted("training.execution=eager")
    cut, cut_eager = predicted(*staged), predicted(*staged, "training.execution=eager")

    assert alone.step.seconds < eager.step.seconds
    assert cut.step.seconds == cut_eager.step.seconds
    found = check(Source("m.dsk", SPEC), None, staged)
    assert found.spec is not None
    assert found.lowered is not None
    plan = make_plan(found.spec, found.lowered)
    said = " ".join(shown(plan, found.spec, predict(plan, found.spec)).split())
    assert "execution eager: the schedule runs forward and backward" in said
