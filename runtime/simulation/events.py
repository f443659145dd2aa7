"""What a rank does that other ranks have to do too: calls of collectives, sends and receives, and waits for them.

`size` is in bytes, and is that of the whole value on one rank, the larger of what the rank hands in and what it gets:
the tensor of an all-reduce, the gathered result of an all-gather, the summed input of a reduce-scatter, the input of
an all-to-all, the message of a send. NCCL's own tests count so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One collective, or one message from `ranks[0]` to `ranks[1]`.

    `group` is the name of the process group; `detail` is what else has to agree (the reduction, the root, the
    micro-batch); `launch` is the same number for messages that are started together; `where` is the line of the
    program. `once` calls belong to the start of a run, not to each step.
    """

    kind: str
    ranks: tuple[int, ...]
    group: str
    size: int
    dtype: str
    detail: str = ""
    where: str = ""
    launch: int | None = None
    once: bool = False

    @property
    def message(self) -> bool:
        """Whether it is a message between two ranks."""
        return self.kind in ("send", "recv")

    @property
    def said(self) -> str:
        """As a reader is told of it."""
        amount = f" of {self.size:,} bytes ({self.dtype})" if self.dtype else ""
        detail = f" [{self.detail}]" if self.detail else ""
        place = f" at {self.where}" if self.where else ""
        return f"{self.kind}{amount}{detail}{place}"


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits until call number `call` of the same rank is done."""

    call: int


Event = Call | Wait
Record = tuple[Event, ...]
"""The events of one rank in their order; calls are numbered from 0."""


def packed(record: Record) -> dict[str, Any]:
    """A record as JSON: each different call once, and the order as numbers; a wait for call n is -1 - n."""
    table: dict[Call, int] = {}
    order = []
    for event in record:
        order.append(table.setdefault(event, len(table)) if isinstance(event, Call) else -1 - event.call)
    return {"calls": [list(astuple(call)) for call in table], "order": order}


def unpacked(data: dict[str, Any]) -> Record:
    """The record that `packed` made."""
    calls = [_call(row) for row in data["calls"]]
    return tuple(calls[number] if number >= 0 else Wait(-1 - number) for number in data["order"])


def _call(row: Sequence[Any]) -> Call:
    kind, ranks, *rest = row
    return Call(kind, tuple(ranks), *rest)


def listed(ranks: Iterable[int], most: int = 8) -> str:
    """Ranks for a reader: `rank 3`, `ranks 0, 1, 2`, `ranks 0, 4, ... 60 (16)`."""
    numbers = list(ranks)
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    if len(numbers) <= most:
        return "ranks " + ", ".join(map(str, numbers))
    return f"ranks {numbers[0]}, {numbers[1]}, ... {numbers[-1]} ({len(numbers)})"
