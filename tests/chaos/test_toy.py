"""The harness can fail: programs that do not come back, lose a step or a bit, faults without effect or trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dskc.runtime.chaos.faults import parse
from dskc.runtime.chaos.whole import Result, disturb, reference

from .toy import toy


def chaos(folder: Path, program: Path, *faults: str, patience: float = 60.0) -> Result:
    undisturbed = reference(program, folder / "undisturbed", None, patience)
    return disturb(
        program, undisturbed, folder / "disturbed", [parse(text) for text in faults], 0, None, patience, print
    )


def test_a_program_that_recovers_stands_every_fault_that_it_can(tmp_path: Path) -> None:
    faults = ["kill@3", "kill:at=publish@11", "segfault@17", "bit-flip:file=model@21", "truncate:file=manifest@26",
              "disk-full@32", "slow-disk:seconds=0.05@37", "clock:seconds=-3600@42", "kill:at=remove@46"]  # fmt: skip
    result = chaos(tmp_path, toy(tmp_path / "toy"), *faults)

    assert result.failures == []
    assert len(result.agreement) == 2
    assert [outcome.replayed for outcome in result.outcomes[:3]] == [3, 5, 2]
    assert [outcome.fault.kind.name for outcome in result.outcomes if outcome.parts is None] == [
        "disk-full", "slow-disk", "clock",
    ]  # fmt: skip
    for outcome in result.outcomes:
        assert outcome.proof
        assert outcome.shown in outcome.fault.kind.shows
        if outcome.parts is not None and outcome.struck is not None and outcome.back is not None:
            assert sum(outcome.parts.values()) == pytest.approx(outcome.back - outcome.struck)
            assert min(outcome.parts.values()) >= 0
    assert (tmp_path / "disturbed" / "timeline.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("on_resume", "why"),
    [
        ("sys.exit(1 if again else 0) if again else None", "4 starts of the job in a row without a new step"),
        ("step, values = 0, [0.0] * SIZE; (time.sleep(60) if again else None)", "no new step for"),
        ("step += again", "weight differs in"),
        ("step, values = step - 5 * again, values", "weight differs in"),
        ("values[7] = values[7] * (1 + again * 2**-23)", "weight differs in"),
        ("events.LOG.path = None if again else events.LOG.path", "no event names it"),
    ],
    ids=["ends", "waits", "loses_a_step", "repeats_steps", "flips_a_bit", "says_nothing"],
)
def test_a_program_that_does_not_recover_fails(on_resume: str, why: str, tmp_path: Path) -> None:
    result = chaos(
        tmp_path, toy(tmp_path / "toy", on_resume), "kill@32", "kill@41", patience=5.0 if "sleep" in on_resume else 60.0
    )

    assert result.failures
    assert re.search(why, "\n".join(result.failures)), result.failures


def test_a_fault_that_never_fires_fails(tmp_path: Path) -> None:
    result = chaos(tmp_path, toy(tmp_path / "toy"), "kill@12", "kill@1000")

    assert result.failures == ["kill:rank=0@1000: it did not fire"]
