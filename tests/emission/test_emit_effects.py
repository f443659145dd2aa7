"""Each setting that the gate lets through changes the program, whatever its other settings are."""

from __future__ import annotations

import re

import pytest

from dskc.compiler.build import check, planned
from dskc.compiler.cli.plan import tables
from dskc.dsl.schema.sections import SECTIONS
from dskc.dsl.schema.types import Setting, settings_of
from dskc.dsl.source import Source

from .compiled import compile_source, example, resolved
from .test_emit_settings import RANDOM

UNITS = {
    "share": "60%", "steps": "7 steps", "epochs": "7 epochs", "tokens": "7000 tokens", "samples": "700 samples",
    "seconds": "7 s", "bytes": "7 GiB", "bytes/s": "7 GB/s", "flops": "7 TFLOPS",
}  # fmt: skip
PLAIN = {"int": "300", "float": "0.37", "str": '"other"'}
UNCHANGED = {
    "data.packing=stream", "precision.compute=fp32", "precision.compute=bf16", "precision.master=fp32",
    "training.execution=auto", "training.kernels=library",
    "memory.checkpointing=off", "memory.checkpointing=budget(limit: 7 GiB)",
    "communication.aggregate=all_reduce", "parallel.shard=none", "cluster.device=auto",
    "data.source=digits()", "data.source=random()", "optimizer.nesterov=true", "observe.sample=sample()",
}  # fmt: skip
"""What these specs, or the defaults, say already."""


def values(setting: Setting) -> list[str]:
    """Values of each form that a setting takes, with each of the arguments of a variant."""
    found = list(setting.type.choices)
    for plain in setting.type.plain:
        if plain.kind == "bool":
            found.append("false" if setting.default is True else "true")
        else:
            found += [UNITS[name] for name in plain.dimensions] or [PLAIN[plain.kind]]
    for kind in setting.type.kinds:
        if kind.compiled:
            inner = settings_of(kind).values()
            needed = [f"{each.name}: {values(each)[0]}" for each in inner if each.rule.required]
            lists = [
                needed,
                *([*needed, f"{each.name}: {values(each)[0]}"] for each in inner if not each.rule.required),
            ]
            found += [f"{kind.kind}({', '.join(each)})" for each in lists]
    if setting.type.fixed:
        found.append("(0.37, 0.37)")
    return found


def meaning(files: dict[str, str]) -> str:
    """What runs: without the plan, its hash, and the places in comments."""
    return re.sub(r"  # .*|PLAN = .*", "", files["train.py"] + files["model.py"])


def said(source: Source, flag: str) -> bool:
    """Whether a setting is warned of as without effect, or changes what `dskc plan` predicts of the named machine."""
    checked = check(source, overrides=[flag])
    planned(checked)
    if any("has no effect" in each.message for each in checked.sink):
        return True
    ranks = 'cluster.gpu="H100"', "parallel.world_size=16", "parallel.gpu_per_node=8"
    return flag.startswith(("cluster.", "checkpoint.recover_within")) and predictions(source, *ranks) != predictions(
        source, *ranks, flag
    )


def predictions(source: Source, *flags: str) -> list[str]:
    """What `dskc plan` prints, or why it cannot be."""
    checked = check(source, overrides=flags)
    plan = planned(checked)
    assert checked.spec is not None
    return [str(each) for each in checked.sink] if plan is None else tables(plan, checked.spec)


@pytest.mark.parametrize("source", [example("stdlib_gpt"), example("digits"), RANDOM], ids=lambda each: each.name)
def test_every_setting_changes_the_program(source: Source) -> None:
    spec, before = resolved(source), meaning(compile_source(source))
    changed, without_effect = 0, []
    for section in SECTIONS:
        for setting in settings_of(type(getattr(spec, section))).values():
            for flag in (f"{section}.{setting.name}={value}" for value in values(setting)):
                try:
                    after = meaning(compile_source(source, flag))
                except AssertionError:  # refused
                    continue
                changed += after != before
                if after == before and flag not in UNCHANGED and not said(source, flag):
                    without_effect.append(flag)

    assert without_effect == []
    assert changed >= 20
