"""Compares the records of all ranks: the same calls in the same order, a receiver for each message, no deadlock.

`match` returns what is wrong, each finding with the rank and the call; nothing found means that the ranks agree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from .deadlock import stuck
from .events import Call, Record, listed

Calls = Sequence[Call]
Key = Callable[[Call], tuple[object, ...]]


@dataclass(frozen=True)
class Finding:
    """What is wrong, and the ranks that it is about."""

    ranks: tuple[int, ...]
    message: str


def match(records: Mapping[int, Record]) -> list[Finding]:
    """Everything in which the ranks do not agree; `records` are those of all ranks of the run."""
    findings = [*_groups(records), *_messages(records)]
    return findings or [Finding(ranks, message) for ranks, message in stuck(records)]


def _groups(records: Mapping[int, Record]) -> Iterator[Finding]:
    """Every member of a group issues the same collectives."""
    issued: dict[tuple[tuple[int, ...], str], dict[int, list[Call]]] = defaultdict(lambda: defaultdict(list))
    for rank, record in records.items():
        for event in record:
            if isinstance(event, Call) and not event.message:
                issued[event.ranks, event.group][rank].append(event)
    for (ranks, _), calls in issued.items():
        outside = sorted(set(calls) - set(ranks))
        if outside:
            first = calls[outside[0]][0]
            yield Finding(tuple(outside), f"{listed(outside)}: {first.said} in a group of others, {listed(ranks)}")
        absent = [rank for rank in ranks if rank not in records]
        if absent:
            yield Finding(tuple(absent), f"{listed(absent)} of the group of {listed(ranks)} did not run")
        members = {rank: calls[rank] for rank in ranks if rank in records}
        yield from _same(members, f"the group of {listed(ranks)}", _collective)


def _collective(call: Call) -> tuple[object, ...]:
    return call.kind, call.size, call.dtype, call.detail


def _message(call: Call) -> tuple[object, ...]:
    return call.size, call.dtype, call.detail


def _messages(records: Mapping[int, Record]) -> Iterator[Finding]:
    """Every message is received, in the order in which it was sent."""
    ways: dict[tuple[tuple[int, ...], str], dict[str, list[Call]]] = defaultdict(lambda: {"send": [], "recv": []})
    for rank, record in records.items():
        for event in record:
            if isinstance(event, Call) and event.message:
                assert rank == event.ranks[event.kind == "recv"]
                ways[event.ranks, event.group][event.kind].append(event)
    for (ends, _), way in ways.items():
        members = {ends[0]: way["send"], ends[1]: way["recv"]}
        yield from _same(members, f"messages from rank {ends[0]} to rank {ends[1]}", _message)


def _same(members: Mapping[int, Calls], group: str, key: Key) -> Iterator[Finding]:
    """Compares the calls of all members with those of most of them."""
    signatures = {rank: tuple(key(call) for call in calls) for rank, calls in members.items()}
    usual = Counter(signatures.values()).most_common(1)[0][0]
    model = next(rank for rank, signature in signatures.items() if signature == usual)
    for rank, signature in signatures.items():
        if signature != usual:
            same = [other for other, its in signatures.items() if its == usual]
            yield Finding((rank, *same[:1]), _difference(rank, members[rank], same, members[model], group, key))
        elif rank != model:
            swapped = _swapped(members[rank], members[model])
            if swapped is not None:
                mine, others = members[rank][swapped].said, members[model][swapped].said
                yield Finding(
                    (rank, model), f"{group}: call {swapped + 1} of rank {rank} is {mine}, of rank {model} {others}"
                )


def _difference(rank: int, mine: Calls, others: Sequence[int], usual: Calls, group: str, key: Key) -> str:
    """Where two lists of calls part: what is missing, too much, or not the same."""
    left, right = [(key(c), c.where) for c in mine], [(key(c), c.where) for c in usual]
    if [k for k, _ in left] != [k for k, _ in right] and all(not w for _, w in left + right):
        left, right = [(k, "") for k, _ in left], [(k, "") for k, _ in right]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    kind, i, _, j, _ = next(code for code in matcher.get_opcodes() if code[0] != "equal")
    who = listed(others)
    counts = f"{group}: rank {rank} issues {len(mine)} calls, {who} {len(usual)}"
    if kind == "insert":
        return f"{counts}; rank {rank} lacks call {j + 1}, {usual[j].said}"
    if kind == "delete":
        return f"{counts}; only rank {rank} issues its call {i + 1}, {mine[i].said}"
    return f"{group}: call {i + 1} of rank {rank} is {mine[i].said}, but that of {who} is {usual[j].said}"


def _swapped(mine: Calls, usual: Calls) -> int | None:
    """The first call that another line of the program makes, where both ranks run the same lines in another order."""
    places = [call.where for call in mine], [call.where for call in usual]
    if places[0] == places[1] or Counter(places[0]) != Counter(places[1]):
        return None
    return next(i for i, (a, b) in enumerate(zip(*places, strict=True)) if a != b)
