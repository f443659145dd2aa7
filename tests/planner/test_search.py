"""The search: its best is the best of all layouts, each counted and explained; `auto` takes it; the same every time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from dskc.compiler.build import Checked, check, make_plan, planned, settled
from dskc.compiler.cluster import machine_of
from dskc.compiler.lower import Lowered
from dskc.compiler.planner.choice import sections, settings, spec_of
from dskc.compiler.planner.predict import predict
from dskc.compiler.planner.search import WAYS, every_choice, samples_of, search
from dskc.compiler.planner.tables import Tables
from dskc.compiler.refused import Refused
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec
from dskc.dsl.values import AUTO as AUTO_VALUE

SPEC = """
dsk 1
import std.transformer
model m {
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = embedding(tokens, size: data.vocab, dim: 512)
    repeat 4 as layers { x = decoder_layer(x, heads: 4, hidden: 1_024) }
    loss cross_entropy(linear(rms_norm(x), out: data.vocab), targets)
  }
}
data { source: random(), vocab: 2_048, sequence: 512 }
training { steps: 10, micro_batch_size: 1, gradient_accumulation: 1 }
precision { compute: bf16 }
cluster { gpu: "A100-80GB" }
parallel { world_size: 4 }
"""


@dataclass(frozen=True)
class Given:
    """A spec without errors."""

    checked: Checked
    spec: Spec
    lowered: Lowered


def checked(*flags: str) -> Given:
    found = check(Source("m.dsk", SPEC), None, flags)
    assert found.spec is not None, [finding.message for finding in found.sink]
    assert found.lowered is not None
    return Given(found, found.spec, found.lowered)


def test_the_best_is_that_of_all_layouts_planned_one_by_one() -> None:
    given = checked("parallel.world_size=2")
    best = search(given.spec, given.lowered, 3).best
    tables = Tables(given.spec, given.lowered, machine_of(given.spec))
    seconds = []
    for choice in every_choice(tables, given.spec, samples_of(given.spec), WAYS):
        spec = spec_of(given.spec, choice)
        try:
            plan = make_plan(spec, given.lowered)
        except Refused:
            continue
        seconds.append((predict(plan, spec).step.seconds, choice.key, choice))
    seconds.sort(key=lambda each: each[:2])

    assert len(seconds) > 40
    assert [each.choice for each in best] == [choice for _, _, choice in seconds[:3]]
    assert [each.seconds for each in best] == pytest.approx([time for time, _, _ in seconds[:3]])


def test_every_layout_is_counted_once_and_two_searches_agree() -> None:
    given = checked()
    first, second = (search(given.spec, given.lowered, 4) for _ in range(2))

    assert first.best == second.best
    assert first.looked == len(first.best) + sum(group.count for group in first.groups.values())
    assert all(group.count and group.example for group in first.groups.values())


def test_no_layout_changes_the_samples_of_a_step() -> None:
    given = checked("parallel.data_parallel=2", "parallel.pipeline_depth=2")

    for each in search(given.spec, given.lowered, 5).best:
        chosen = each.choice
        assert chosen.layout.data * chosen.micro_batch * chosen.accumulation == 2


def test_less_memory_leaves_fewer_layouts_and_none_that_is_faster() -> None:
    given = checked()
    best = search(given.spec, given.lowered, 8).best
    limit = sorted(each.memory for each in best)[3]
    small = checked(f"cluster.memory={int(limit)} B")
    found = search(small.spec, small.lowered, 8)

    assert all(each.memory <= limit for each in found.best)
    assert found.best[0].seconds >= best[0].seconds
    assert found.best[0] in [each for each in best if each.memory <= limit]
    assert any("memory" in why for why in found.groups)


AUTO = tuple(f"parallel.{name}=auto" for name in ("tensor_model_parallel", "pipeline_depth", "shard", "schedule"))


def test_auto_takes_the_best_and_keeps_what_is_settled() -> None:
    given = checked(*AUTO)
    filled = settled(given.checked).spec
    assert filled is not None
    plan = planned(replace(given.checked, spec=filled))
    best = search(checked().spec, given.lowered, 1).best[0]

    assert plan is not None
    assert predict(plan, filled).step.seconds <= best.seconds * 1.0001
    kept = settled(checked(*AUTO[1:], "parallel.tensor_model_parallel=2").checked).spec
    assert kept is not None
    assert kept.parallel.tensor_model_parallel == 2


def test_settings_of_a_choice_make_the_spec_that_was_rated() -> None:
    given = checked()
    best = search(given.spec, given.lowered, 1).best[0]
    again = checked(*(f"{path}={value}" for path, value in settings(best.choice).items())).spec

    assert again.parallel == spec_of(given.spec, best.choice).parallel
    assert again.training == spec_of(given.spec, best.choice).training
    assert all(
        f"{path.split('.')[1]}: {value}" in sections(best.choice) for path, value in settings(best.choice).items()
    )


@pytest.mark.parametrize("text", [SPEC + "parallel: auto\n", SPEC.replace("model m", "parallel: auto\nmodel m"), SPEC])
def test_the_whole_section_can_be_auto(text: str) -> None:
    flags = ("parallel=auto",) if text == SPEC else ()
    found = check(Source("m.dsk", text), None, (*flags, "parallel.pipeline_depth=2")).spec

    assert found is not None
    assert found.parallel.world_size == 4
    assert found.parallel.pipeline_depth == 2
    assert {found.parallel.tensor_model_parallel, found.parallel.shard, found.parallel.data_parallel} == {AUTO_VALUE}


def test_where_no_layout_fits_the_numbers_say_why() -> None:
    found = checked(*AUTO, "cluster.memory=1 MiB")

    assert settled(found.checked).spec is None
    (error,) = [finding for finding in found.checked.sink if finding.code == "E0421"]
    assert "1.0 MiB" in error.message


def test_what_is_not_tried_is_told() -> None:
    given = checked("training.gradient_accumulation=256", "parallel.world_size=4")
    found = search(given.spec, given.lowered, 1)

    assert "micro-batches of more than 64 samples are not tried" in found.groups
    assert "zero bubble takes gradients of parameters that ZeRO-3 has let go" in found.groups
    assert "gpipe takes as long as 1F1B and holds every micro-batch at once" in found.groups


def test_layouts_that_the_gate_would_refuse_are_not_among_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    given = checked()
    monkeypatch.setattr("dskc.compiler.planner.search.proven", lambda: {"one/replicated/one": 1})
    found = search(given.spec, given.lowered, 20)

    assert {(each.choice.layout.data, each.choice.layout.shard) for each in found.best} == {(4, "none")}
    assert any("no parity test" in why for why in found.groups)


def test_one_rank_needs_no_proof() -> None:
    given = checked("parallel.world_size=1")

    assert search(given.spec, given.lowered, 1).best
