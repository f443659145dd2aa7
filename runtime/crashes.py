"""What a run learns from how it ended before: that starting again is no use, and which samples it never gets past.

All of it is read from the events of the run, so it outlives processes, machines and checkpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Record = Mapping[str, Any]
ORDERLY: Final = ("preempted", "stopped", "finished")
FALLS: Final = ("died", "hang")
TRAINING: Final = ("training", "first step")
FAILING: Final = "the step failed again and again"


@dataclass(frozen=True)
class Life:
    """From one start of the ranks to the next."""

    records: tuple[Record, ...]

    @property
    def reached(self) -> int:
        """The furthest step that its records tell of."""
        return max((record["step"] for record in self.records if record["event"] != "skipped"), default=0)

    @property
    def orderly(self) -> bool:
        """Whether it ended as it should."""
        return any(record["event"] in ORDERLY for record in self.records)


def lives(records: Iterable[Record]) -> list[Life]:
    """The lives of a run, the first one first."""
    found: list[list[Record]] = []
    for record in records:
        if record["event"] == "started":
            found.append([])
        if found:
            found[-1].append(record)
    return [Life(tuple(each)) for each in found]


def fruitless(records: Sequence[Record]) -> list[Life]:
    """The last lives in a row that ended in a fault without a step that was new."""
    found: list[Life] = []
    furthest = 0
    for life in lives(records):
        new = life.reached > furthest
        furthest = max(furthest, life.reached)
        if new or life.orderly:
            found.clear()
        else:
            found.append(life)
    return found


def cause(life: Life) -> str:
    """The first fault of a life in words; what other ranks ended of usually follows from it."""
    return next((_said(record) for record in life.records if record["event"] in FALLS), "no rank left a word")


def _said(record: Record) -> str:
    if record["event"] == "hang":
        what = f"no sign of life for {record['waited']} s ({record['state']})"
    else:
        what = record["reason"]
    return f"rank {record['rank']}, {record['doing']} after step {record['step']}: {what}"


def verdict(records: Sequence[Record], attempts: int) -> str | None:
    """Why the ranks should not be started once more; None where they should."""
    found = fruitless(records)
    if len(found) < attempts:
        return None
    furthest = max((life.reached for life in lives(records)), default=0)
    causes = [f"{text}{f' ({count} times)' if count > 1 else ''}" for text, count in Counter(map(cause, found)).items()]
    often = f"{len(found)} times in a row" if len(found) > 1 else "again"
    return (
        f"the ranks were started {often} without a step beyond the furthest one, {furthest}. "
        "What they ended of:\n    " + "\n    ".join(causes) + "\n"
        "Mend the cause and start again: it goes on from the newest checkpoint, and counts anew"
    )


def skips(records: Sequence[Record], after: int) -> list[tuple[int, int | None]]:
    """Steps done when samples are passed over, and the first of these; None for those of the next step, whichever.

    These are the ones that were passed over before, and those of a step that the ranks failed in, training, in the last
    `after` starts in a row.
    """
    found: list[tuple[int, int | None]] = [
        (record["step"], record["samples"][0]) for record in records if _passed_over(record)
    ]
    every = lives(records)
    furthest, failed = max((life.reached for life in every), default=0), 0
    for life in reversed(every):
        if not _failed_in(life, furthest):
            break
        failed += 1
        if any(map(_passed_over, life.records)):
            break
    return [*found, (furthest, None)] if failed >= after else found


def _passed_over(record: Record) -> bool:
    return bool(record["event"] == "skipped" and record.get("why") == FAILING)


def _failed_in(life: Life, step: int) -> bool:
    return any(
        record["event"] in FALLS and record["doing"] in TRAINING and record["step"] == step for record in life.records
    )
