"""Placed plans of the examples, for the tests of passes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from dskc.compiler.build import check, make_plan
from dskc.compiler.plan import Plan
from dskc.dsl.source import Source

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.dsk"))
TENSOR = ("parallel.world_size=2", "parallel.tensor_model_parallel=2")
SEQUENCE = (*TENSOR, "parallel.sequence_parallel=true")
DATA = ("parallel.world_size=2",)
BOTH = ("parallel.world_size=4", "parallel.tensor_model_parallel=2")
SHARDED = (*BOTH, "parallel.shard=parameters")
EXPERTS = ("parallel.world_size=4", "parallel.expert_parallel=2")
LAYOUTS = {"tensor": TENSOR, "sequence": SEQUENCE, "data": DATA, "both": BOTH, "zero": SHARDED}


def source_of(name: str) -> Source:
    return Source(f"{name}.dsk", (ROOT / "examples" / f"{name}.dsk").read_text("utf-8"))


@cache
def placed(name: str, *overrides: str, last: str = "shard") -> Plan:
    """The plan of an example after the sharding pass."""
    return plan_of(source_of(name), *overrides, last=last)


def plan_of(source: Source, *overrides: str, last: str = "shard") -> Plan:
    checked = check(source, None, overrides)
    assert checked.spec is not None, [d.message for d in checked.sink]
    assert checked.lowered is not None, [d.message for d in checked.sink]
    return make_plan(checked.spec, checked.lowered, last)


def placed_in(name: str, layout: str) -> Plan:
    """The plan of an example in one of `LAYOUTS`; `dense_100b` has one of its own."""
    return placed(name) if name == "dense_100b" else placed(name, *LAYOUTS[layout])
