"""A large mesh from its corners: where the first and last ranks of data and tensor axes say the same, so do others.

That is an argument, not a run: a program may treat a rank in the middle otherwise. `spread` refuses unequal corners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

from ..errors import RunError
from .events import Call, Event, Record
from .traffic import coordinates


def corners(axes: Mapping[str, int]) -> list[int]:
    """Every rank of the pipeline at the first and last places of the other axes; `axes` outermost first."""
    ends = [range(size) if name == "pipeline" else sorted({0, size - 1}) for name, size in axes.items()]
    return [_rank(place, axes) for place in product(*ends)]


def spread(records: Mapping[int, Record], axes: Mapping[str, int]) -> dict[int, Record]:
    """The records of all ranks from those of the corners; `RunError` where these are not the same up to their place."""
    named = {rank: _named(record) for rank, record in records.items()}
    moving = [i for i, name in enumerate(axes) if name != "pipeline"]
    found: dict[int, Record] = {}
    for place in product(*(range(size) for size in axes.values())):
        rank = _rank(place, axes)
        source = _rank(tuple(0 if i in moving else at for i, at in enumerate(place)), axes)
        found[rank] = tuple(_moved(event, place, moving, axes) for event in named[source])
        if rank in named and named[rank] != found[rank]:
            raise RunError(f"rank {rank} does not say what rank {source} says at its place: run all ranks")
    return found


def _rank(place: tuple[int, ...], axes: Mapping[str, int]) -> int:
    rank = 0
    for at, size in zip(place, axes.values(), strict=True):
        rank = rank * size + at
    return rank


def _named(record: Record) -> Record:
    """Groups are numbered by their ranks: torch's own names differ from rank to rank."""
    names: dict[tuple[int, ...], list[str]] = {}
    events: list[Event] = []
    for event in record:
        if isinstance(event, Call):
            known = names.setdefault(() if event.message else event.ranks, [])
            if event.group not in known:
                known.append(event.group)
            event = replace(event, group=str(known.index(event.group)))
        events.append(event)
    return tuple(events)


def _moved(event: Event, place: tuple[int, ...], moving: list[int], axes: Mapping[str, int]) -> Event:
    """The call at another place: its ranks follow on the axes on which they are the same."""
    if not isinstance(event, Call):
        return event
    places = [list(coordinates(rank, axes)) for rank in event.ranks]
    for i in moving:
        if len({each[i] for each in places}) == 1:
            for each in places:
                each[i] = place[i]
    return replace(event, ranks=tuple(_rank(tuple(each), axes) for each in places))
