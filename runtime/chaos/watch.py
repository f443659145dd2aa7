"""What is seen of a run from the outside, in the order of a clock that does not jump."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import events


@dataclass(frozen=True)
class Seen:
    """One observation: when (monotonic seconds), what, of which rank, and its content."""

    time: float
    what: str  # born, joining, joined, step, disk; gone, line, exit, launch, event, struck
    rank: int
    value: Any = None


@dataclass
class Watch:
    """All that was seen; `events.jsonl` is read as it grows."""

    run: Path
    seen: list[Seen] = field(default_factory=list)
    _offset: int = 0

    def add(self, what: str, rank: int = -1, value: Any = None, at: float | None = None) -> Seen:
        """Notes what was seen now, or at an earlier time of the same clock."""
        self.seen.append(Seen(time.monotonic() if at is None else at, what, rank, value))
        return self.seen[-1]

    def poll(self) -> list[Seen]:
        """Events that were added since the last time."""
        path = self.run / events.FILE
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [
            self.add("event", record.get("rank", -1), record) for line in whole.splitlines() if (record := _read(line))
        ]


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:  # cut short by a fault
        return None
    return record if isinstance(record, dict) and "event" in record else None
