"""The programs that `test_program.py` runs: a small spec in its layout, and the same in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dsl.diagnostics import Sink
from ..dsl.source import Source
from ..dsl.spec import Spec
from .build import Checked, check, planned
from .lower import lower
from .shrink import Small, one_process, shrink


@dataclass(frozen=True)
class Pair:
    """Files of both programs by name, and the small spec that they are of; no second where the spec is for one."""

    small: Small
    one: dict[str, str]
    several: dict[str, str] | None


def pair(
    source: Source,
    profile: str | None,
    overrides: Sequence[str],
    asked: Checked | None = None,
    standalone: bool = False,
) -> Pair | Sink:
    """The programs of a spec, or the findings where one cannot be made; `asked` is the spec as it was checked."""
    small = shrink(source, profile, overrides, asked)
    if isinstance(small, Sink):
        return small
    checked = check(small.source, small.profile, small.settings)
    if checked.spec is None or checked.lowered is None:
        return checked.sink
    several = None
    if small.layout.world > 1:
        several = _files(checked, standalone)
        if several is None:
            return checked.sink
        alone = one_process(checked.spec)
        checked = Checked(alone, lower(alone, checked.sink), checked.sink)
    one = _files(checked, standalone)
    return checked.sink if one is None else Pair(small, one, several)


def _files(checked: Checked, standalone: bool) -> dict[str, str] | None:
    from .emit import program

    plan = planned(checked)
    spec: Spec | None = checked.spec
    return program(spec, plan, checked.sink, standalone) if spec is not None and plan is not None else None
