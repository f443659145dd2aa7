"""What a failure costs: closed forms, order of the time-outs, sizes, an error for each part that is too long."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import inf, sqrt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from dskc.compiler.build import check, planned
from dskc.compiler.cluster import machine_of
from dskc.compiler.planner.predict import step_of
from dskc.compiler.recovery import Recovery, recovery_of
from dskc.compiler.recovery.interval import lost, steps_of, young
from dskc.compiler.recovery.ladder import heartbeat_of, ladder
from dskc.compiler.recovery.show import recovery_data, shown
from dskc.dsl.diagnostics import Diagnostic
from dskc.dsl.source import Source
from dskc.runtime import pace
from dskc.runtime.recovery import Times

from ..emission.compiled import EXAMPLES, compile_source
from ..emission.compiled import example as spec_of

SECONDS = st.floats(1e-3, 1e5)
GPT = """
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
training { steps: 100_000, micro_batch_size: 4, gradient_accumulation: 8, execution: eager }
cluster { gpu: "H100", start_up: 5 s, warm_up: 1 s }
"""


def predicted(text: str, *flags: str) -> tuple[Recovery, list[Diagnostic]]:
    checked = check(Source("m.dsk", text), None, flags)
    assert checked.spec is not None, list(checked.sink)
    plan = planned(checked)
    assert plan is not None
    return recovery_of(plan, checked.spec), list(checked.sink)


@given(st.floats(1e-3, 1e3), st.floats(10.0, 1e6), st.floats(0.2, 5.0))
def test_the_interval_of_young_loses_least(stall: float, mtbf: float, factor: float) -> None:
    best = young(stall, mtbf)
    if sqrt(2 * stall * mtbf) > mtbf:
        assert best == mtbf
        return
    assert best**2 == pytest.approx(2 * stall * mtbf)
    assert lost(best, stall, mtbf, 60.0) <= lost(best * factor, stall, mtbf, 60.0) * (1 + 1e-12)
    assert lost(best, stall, mtbf, 0.0) == pytest.approx(sqrt(2 * stall / mtbf))


def test_the_interval_is_that_of_the_run() -> None:
    assert all(young(c, m) == pace.interval(c, m) for c in (0.1, 3.0, 1e5) for m in (60.0, 21_600.0))


def test_what_failures_cost_is_what_a_simulation_of_them_costs() -> None:
    """A failure every 1,000 s, whose time in the interval goes evenly over all of it."""
    interval, stall, mtbf, recovery = 50.0, 2.0, 1_000.0, 30.0
    saves = mtbf / interval * stall
    failures = [recovery + (at + 0.5) * interval / 1_000 for at in range(1_000)]
    assert lost(interval, stall, mtbf, recovery) == pytest.approx((saves + sum(failures) / 1_000) / mtbf)


@given(SECONDS, SECONDS, st.floats(0.0, 1e5), st.floats(0.0, 1e6))
def test_an_interval_in_steps_keeps_its_bounds(wanted: float, step: float, least: float, most: float) -> None:
    steps = steps_of(wanted, step, least, most)
    assert steps >= 1
    assert steps == 1 or steps * step <= most * (1 + 1e-6)
    assert (steps + 1) * step >= min(max(wanted, least), most) * (1 - 1e-6)


@given(SECONDS, SECONDS, st.one_of(st.none(), SECONDS), SECONDS, SECONDS)
@example(30.0, 0.0, 300.0, 60.0, 90.0)
def test_time_outs_of_any_run_are_in_order(
    step: float, stall: float, budget: float | None, starting: float, leaving: float
) -> None:
    heartbeat = heartbeat_of(step, stall, budget)
    found = ladder(heartbeat, starting + step, leaving)
    times = Times(**asdict(found))  # refuses a wrong order
    assert times.heartbeat >= 2 * step + stall  # nobody is ended for a usual step
    assert times.store >= times.collective + 2 * starting
    assert times.rendezvous >= times.store + times.collective + times.preemption
    assert times.preemption >= leaving


@pytest.mark.parametrize("budget", [30, 60, 120, 300, 1_800])
@pytest.mark.parametrize("saving", ["checkpoint.every=auto", "checkpoint.every=1 steps"])
def test_a_budget_that_is_accepted_is_kept(budget: int, saving: str) -> None:
    flags = (f"checkpoint.recover_within={budget} s", "cluster.mtbf=6 h", saving)
    found, (*findings,) = predicted(GPT, *flags)
    if any(finding.code == "E0801" for finding in findings):
        assert found.shortest > found.most
    else:
        assert found.total is not None
        assert found.total <= budget
    assert Times(**asdict(found.ladder)).heartbeat <= max(120, 2 * found.step + found.stall + 6)


def test_a_checkpoint_is_three_numbers_a_parameter_however_it_is_cut() -> None:
    parameters = 2 * 8_192 * 1_024 + 8 * (4 * 1_024**2 + 3 * 1_024 * 4_096 + 2 * 1_024) + 1_024
    one, _ = predicted(GPT)
    assert one.state.written == one.state.read == one.state.of_rank == 12 * parameters

    twenty = ("parallel.world_size=16", "parallel.gpu_per_node=8")
    copies, _ = predicted(GPT, *twenty)
    assert copies.state.written == 12 * parameters
    assert copies.state.read == 2 * 12 * parameters  # each node once

    shared, _ = predicted(GPT, *twenty, "parallel.shard=optimizer")
    assert shared.state.written == shared.state.read == 12 * parameters
    assert shared.state.of_rank == 12 * parameters // 16

    split, _ = predicted(GPT, *twenty, "parallel.tensor_model_parallel=8")
    norms = 12 * (8 * 2 + 1) * 1_024
    assert split.state.written == pytest.approx(12 * parameters + 7 * norms)


PARTS = {
    "detection": (("training.gradient_accumulation=400",), "training.gradient_accumulation"),
    "restart": (("cluster.start_up=50 s",), "cluster.start_up"),
    "rendezvous": (("parallel.world_size=2048", "checkpoint.recover_within=35 s"), "parallel.world_size"),
    "load": (("cluster.storage=storage(read: 50 MB/s, write: 10 GB/s)",), "cluster.storage"),
    "warm-up": (("cluster.warm_up=45 s",), "cluster.warm_up"),
    "replay": (
        ("cluster.storage=storage(read: 10 GB/s, write: 50 MB/s)", "checkpoint.async=true"), "cluster.storage",
    ),
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_the_longest_part_is_named_with_its_setting(part: str) -> None:
    flags, setting = PARTS[part]
    text = GPT + "checkpoint { every: 1 steps, recover_within: 25 s }\n"
    found, findings = predicted(text, *flags)

    (error,) = [finding for finding in findings if finding.code == "E0801"]
    assert f"; the longest part is {part}: " in error.message
    assert f"recover_within is {25 if part != 'rendezvous' else 35}.00 s: detection" in error.message
    assert error.help is not None
    assert error.help.split("; or ")[1].startswith("`recover_within: ")
    assert [label.message for label in error.labels] == [f"{part} follows from this"]
    assert setting in error.labels[0].span.source.text
    assert found.shortest > found.most


def test_the_memory_of_other_nodes_is_nearer_than_storage() -> None:
    flags = (
        "parallel.world_size=16",
        "parallel.gpu_per_node=8",
        "cluster.storage=storage(read: 100 MB/s, write: 100 MB/s)",
    )
    text = GPT + "checkpoint { every: 20 steps, async: true, recover_within: 45 s }\n"
    far, (error,) = predicted(text, *flags)
    near, findings = predicted(text, *flags, "checkpoint.peer_copy=true")
    assert error.code == "E0801"
    assert findings == []
    assert near.writing < far.writing / 2
    (load,) = (part for part in near.fixed if part.name == "load")
    assert "from the memory of the next node" in load.source


def test_what_the_help_says_is_enough() -> None:
    text = GPT + "checkpoint { every: 1 steps, recover_within: 8 s }\n"
    _, (error,) = predicted(text)
    assert error.help is not None
    least = error.help.rsplit("recover_within: ", 1)[1].rstrip("`")
    assert predicted(text, f"checkpoint.recover_within={least}")[1] == []


@pytest.mark.parametrize(
    ("every", "words"),
    [
        ("5_000 steps", "saves are 5,000 steps of"),
        ("1 h", "saves are 3,600 s apart"),
        ("none", "nothing is saved before the end of training"),
        ("1 epochs", "how long an epoch takes is known when the data are read"),
        ("1_000_000 samples", "saves are 31,250 steps of"),
    ],
)
def test_an_interval_beyond_the_budget_is_an_error_with_one_that_fits(every: str, words: str) -> None:
    flags = ("checkpoint.recover_within=2 min", f"checkpoint.every={every}")
    found, (error,) = predicted(GPT, *flags)
    assert error.code == "E0802"
    assert words in error.message
    assert error.help is not None
    fits = error.help.removeprefix("write `every: ").rstrip("`").replace(",", "_")
    again, findings = predicted(GPT, flags[0], f"checkpoint.every={fits}")
    assert findings == []
    assert again.total is not None
    assert again.total <= 120.0
    assert found.most == pytest.approx(again.most)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("checkpoint.every=30 min", "cluster.mtbf=1 h"), "`every: auto` finds the interval"),
        (("checkpoint.every=1 steps", "cluster.mtbf=24 h"), "`async: true` saves while training goes on"),
        (("checkpoint.every=1 min", "cluster.mtbf=20 min"), "`dskc plan` shows its parts"),
    ],
)
def test_failures_that_take_much_of_the_time_are_told(flags: tuple[str, ...], words: str) -> None:
    found, (warning,) = predicted(GPT, *flags)
    assert warning.code == "W0951"
    assert found.lost is not None
    assert f"take {found.lost:.0%} of the time" in warning.message
    assert words in (warning.help or "")


def test_a_run_without_failures_loses_nothing() -> None:
    found, findings = predicted(GPT, "checkpoint.every=10 min")
    assert (found.lost, found.most, findings) == (None, inf, [])


def test_dense_100b(snapshot: SnapshotAssertion) -> None:
    """Its table; and it is met as it stands, in whole steps of the predicted time."""
    text = (EXAMPLES / "dense_100b.dsk").read_text("utf-8")
    found, findings = predicted(text)
    assert findings == []
    assert found.total is not None
    assert found.total <= 300.0
    assert "\n".join(shown(found)) == snapshot
    assert max(len(line) for line in shown(found)) <= 100


def test_programs_and_plans_have_it() -> None:
    flags = ("parallel.world_size=2", "checkpoint.recover_within=20 min")
    files = compile_source(spec_of("digits"), *flags)
    checked = check(spec_of("digits"), None, flags)
    plan = planned(checked)
    assert plan is not None
    assert checked.spec is not None
    found = recovery_of(plan, checked.spec)

    assert json.loads(files["plan.json"])["predicted"]["recovery"] == recovery_data(found)
    assert found.step == step_of(plan, checked.spec).seconds
    assert found.machine == machine_of(checked.spec)
    scope: dict[str, object] = {}
    block = files["parallel.py"][files["parallel.py"].index("TIMES = ") :]
    exec("from dskc.runtime import recovery\n" + block[: block.index("\n)\n") + 3], scope)
    assert scope["TIMES"] == Times(**asdict(found.ladder))
    assert "place = MESH.start(place, TIMES)" in files["train.py"]
