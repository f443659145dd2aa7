"""The two programs that `dskc verify` compares: a small spec in its layout, and the same in one process."""

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
    """Files of both programs by name, and the small spec that they are of."""

    small: Small
    one: dict[str, str]
    several: dict[str, str]


def pair(source: Source, profile: str | None, overrides: Sequence[str]) -> Pair | Sink:
    """Both programs of a spec; the findings where one cannot be made."""
    small = shrink(source, profile, overrides)
    if isinstance(small, Sink):
        return small
    checked = check(small.source, small.profile, small.settings)
    if checked.spec is None or checked.lowered is None:
        return checked.sink
    alone = one_process(checked.spec)
    sink = Sink()
    files = [_files(each) for each in (Checked(alone, lower(alone, sink), sink), checked)]
    if files[0] is None or files[1] is None:
        return sink if sink.failed else checked.sink
    return Pair(small, files[0], files[1])


def _files(checked: Checked) -> dict[str, str] | None:
    from .emit import program

    plan = planned(checked)
    spec: Spec | None = checked.spec
    return program(spec, plan, checked.sink) if spec is not None and plan is not None else None
