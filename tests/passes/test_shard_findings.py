"""What the sharding pass says of a spec: sizes that do not divide are named, with sizes that do."""

from __future__ import annotations

import pytest

from dskc.compiler.build import check, planned
from dskc.dsl.diagnostics import Diagnostic

from .examples import source_of


def findings(name: str, *overrides: str) -> list[Diagnostic]:
    checked = check(source_of(name), None, overrides)
    assert checked.lowered is not None, [d.message for d in checked.sink]
    planned(checked, "shard")
    return list(checked.sink)


@pytest.mark.parametrize(
    ("name", "ranks", "size", "help"),
    [
        ("deepseek_small", 4, 6, "set `tensor_model_parallel` to 2, or the size to 4 or 8"),  # heads
        ("stdlib_gpt", 8, 4, "set `tensor_model_parallel` to 4, or the size to 8"),  # heads of keys and values
        ("digits", 3, 32, "set `tensor_model_parallel` to 1, or the size to 30 or 33"),  # channels
    ],
)
def test_a_size_that_does_not_divide(name: str, ranks: int, size: int, help: str) -> None:
    found = findings(name, f"parallel.world_size={ranks}", f"parallel.tensor_model_parallel={ranks}")

    assert [d.code for d in found] == ["E0411"]
    assert found[0].message.startswith(f"{size} does not divide by `tensor_model_parallel` {ranks}: ")
    assert found[0].help == help


def test_classes_that_do_not_divide_are_summed_over_their_inputs() -> None:
    assert findings("vit_digits", "parallel.world_size=4", "parallel.tensor_model_parallel=4") == []


def test_a_sequence_that_does_not_divide() -> None:
    layout = ("parallel.world_size=2", "parallel.tensor_model_parallel=2", "parallel.sequence_parallel=true")
    (found,) = findings("stdlib_gpt", "data.sequence=255", *layout)

    assert found.code == "E0411"
    assert "the sequence of 255 does not divide by `tensor_model_parallel` 2" in found.message
    assert found.help is not None
    assert "256" in found.help


def test_sequence_parallelism_without_a_sequence_is_told() -> None:
    layout = ("parallel.world_size=2", "parallel.tensor_model_parallel=2", "parallel.sequence_parallel=true")
    (found,) = findings("digits", *layout)

    assert (found.code, found.severity) == ("W0915", "warning")
    assert "0 have a sequence `S`" in found.message
