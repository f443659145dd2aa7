"""The table of proven layouts is that of the results; the gate opens what is in it and nothing else."""

from __future__ import annotations

import pytest

from dskc.compiler.build import check
from dskc.compiler.gate import gate
from dskc.compiler.layout import Layout, layout_of
from dskc.compiler.proof import DOCUMENT, PIPELINES, TABLE, cells, combination, document, proven, table
from tests.emission.compiled import example

LAYOUTS = {
    "one/one/one": Layout(),
    "one/replicated/one": Layout(data=4),
    "one/parameters/split": Layout(data=2, tensor=4, shard="parameters"),
    "interleaved/one/sequence": Layout(pipeline=2, tensor=2, schedule="interleaved", chunks=2, sequence_parallel=True),
    "zero_bubble_v/optimizer/one": Layout(pipeline=2, data=2, shard="optimizer", schedule="zero_bubble", chunks=2),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_kinds_of_layouts(name: str) -> None:
    assert combination(LAYOUTS[name]) == name
    assert name.split("/")[0] in PIPELINES


def test_table_and_document_are_those_of_the_results() -> None:
    """After new results: `make generate`."""
    assert TABLE.read_text("utf-8") == table(cells())
    assert DOCUMENT.read_text("utf-8") == document(cells())


def test_a_failed_cell_closes_its_combination() -> None:
    cell = {"combination": "a/b/c", "example": "x", "passed": True}
    assert "a/b/c" in table([cell, {**cell, "example": "y"}])
    assert "a/b/c" not in table([cell, {**cell, "example": "y", "passed": False}])


def test_the_gate_opens_what_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("parallel.world_size=4", "parallel.tensor_model_parallel=2", "parallel.shard=parameters")
    checked = check(example("stdlib_gpt"), None, flags)
    assert checked.spec is not None
    gate(checked.spec, checked.sink)
    assert not checked.sink.failed
    assert combination(layout_of(checked.spec)) in proven()

    monkeypatch.setattr("dskc.compiler.gate.proven", lambda: {"one/parameters/one": 3})
    gate(checked.spec, checked.sink)
    (finding,) = checked.sink
    assert finding.code == "E0701"
    assert "one/parameters/split" in finding.message
    assert "no parity test" in finding.message


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (('observe.sample=sample("a")', "parallel.tensor_model_parallel=2"), "observe.sample on ranks that share"),
        (('observe.sample=sample("a")', "parallel.pipeline_depth=2"), "observe.sample on ranks that share"),
        (("parallel.pipeline_depth=2", "training.execution=compiled"), "compiled in a pipeline"),
    ],
)
def test_what_works_in_one_process_only(flags: tuple[str, ...], told: str) -> None:
    checked = check(example("stdlib_gpt"), None, ("parallel.world_size=4", *flags))
    assert checked.spec is not None
    gate(checked.spec, checked.sink)
    assert any(told in finding.message for finding in checked.sink)
