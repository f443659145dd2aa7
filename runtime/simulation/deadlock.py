"""Lets all ranks run against each other and tells who waits for whom when none can go on.

Stricter than any backend: a collective holds its rank until every member of the group is there, so an order that
passes here needs neither buffers nor a second stream. Messages do not hold the rank that starts them; a wait for one
lasts until the other end is started. Between two ranks messages are taken in the order of both, as NCCL does: what is
started together counts as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from .events import Call, Record, Wait, listed

Key = tuple[Hashable, ...]


@dataclass
class _State:
    """Where each rank is, how often each thing was started, and who waits for what."""

    records: Mapping[int, Record]
    position: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    numbers: dict[int, dict[Key, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    started: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    waiting: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[int, list[tuple[Call, Key]]] = field(default_factory=lambda: defaultdict(list))
    blocked: dict[int, tuple[Call, Key]] = field(default_factory=dict)


def stuck(records: Mapping[int, Record]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Ranks that cannot end, and why: a circle of waits, or a wait for what nobody starts; then orders that differ."""
    state = _State(records)
    ready = list(records)
    while ready:
        rank = ready.pop()
        ready += _advance(state, rank)
    if state.blocked:
        yield _explain(state)
        return
    yield from _orders(records)


def _advance(state: _State, rank: int) -> Iterator[int]:
    """Runs a rank until it has to wait; gives the ranks that it lets go on."""
    record = state.records[rank]
    state.blocked.pop(rank, None)
    while state.position[rank] < len(record):
        event = record[state.position[rank]]
        if isinstance(event, Call):
            call, key = event, _start(state, rank, event)
            yield from _wake(state, key)
        else:
            call, key = state.calls[rank][event.call]
        state.position[rank] += 1
        needed = _needed(call, key)
        if (isinstance(event, Wait) or not call.message) and state.started[needed] < _members(call):
            state.blocked[rank] = (call, needed)
            state.waiting[needed].append(rank)
            return


def _start(state: _State, rank: int, call: Call) -> Key:
    """Counts a call as started by its rank; gives its key: the same number in the group is the same collective."""
    line: Key = (call.ranks, call.group, call.kind if call.message else "")
    number = state.numbers[rank][line]
    state.numbers[rank][line] += 1
    key = (*line, number)
    state.started[key] += 1
    state.calls[rank].append((call, key))
    return key


def _needed(call: Call, key: Key) -> Key:
    """What has to be started before a wait for the call ends: for a message its other end."""
    if not call.message:
        return key
    ranks, group, kind, number = key
    return ranks, group, "recv" if kind == "send" else "send", number


def _members(call: Call) -> int:
    return 1 if call.message else len(call.ranks)


def _wake(state: _State, key: Key) -> Iterator[int]:
    for rank in state.waiting.get(key, []):
        call, needed = state.blocked.get(rank, (None, None))
        if call is not None and needed == key and state.started[key] >= _members(call):
            del state.blocked[rank]
            yield rank


def _explain(state: _State) -> tuple[tuple[int, ...], str]:
    """Follows one rank from wait to wait to a circle, or to a rank that has ended."""
    rank = min(state.blocked)
    chain: list[int] = []
    while rank in state.blocked and rank not in chain:
        chain.append(rank)
        rank = _awaited(state, rank)
    circle = chain[chain.index(rank) :] if rank in chain else chain
    steps = [f"rank {each} waits for rank {_awaited(state, each)} in {state.blocked[each][0].said}" for each in circle]
    if rank not in chain:
        steps.append(f"rank {rank} has ended")
    others = f"; {len(state.blocked)} of {len(state.records)} ranks are stuck" if len(state.blocked) > 1 else ""
    return tuple(circle), f"deadlock: {'; '.join(steps)}{others}"


def _awaited(state: _State, rank: int) -> int:
    """A rank that has not started what this one waits for."""
    call, needed = state.blocked[rank]
    if call.message:
        return call.ranks[1] if call.ranks[0] == rank else call.ranks[0]
    line, number = needed[:3], needed[3]
    assert isinstance(number, int)
    return next(other for other in call.ranks if state.numbers[other][line] <= number)


def _orders(records: Mapping[int, Record]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Both ends of each pair of ranks take their messages in the same order."""
    launched: dict[tuple[int, int], dict[int, list[tuple[Call, int]]]] = defaultdict(lambda: defaultdict(list))
    for rank, record in records.items():
        for number, event in enumerate(event for event in record if isinstance(event, Call) and event.message):
            assert isinstance(event, Call)
            pair = min(event.ranks), max(event.ranks)
            together = number if event.launch is None else -1 - event.launch
            launched[pair][rank].append((event, together))
    for pair, sides in launched.items():
        apart = _apart(*(_batches(sides[rank]) for rank in pair))
        if apart:
            first, second = (call.said for call in apart)
            each = f"rank {pair[0]} {first}, rank {pair[1]} {second}"
            yield pair, f"{listed(pair)} take their messages in different orders: {each}"


def _apart(first: list[dict[Key, Call]], second: list[dict[Key, Call]]) -> tuple[Call, Call] | None:
    """The messages at the heads of both lines where these have nothing in common."""
    lines = (first, second)
    while first and second:
        both = first[0].keys() & second[0].keys()
        if not both:
            return next(iter(first[0].values())), next(iter(second[0].values()))
        for line in lines:
            for key in both:
                del line[0][key]
            if not line[0]:
                line.pop(0)
    return None


def _batches(calls: list[tuple[Call, int]]) -> list[dict[Key, Call]]:
    """The messages of one side, those that are started together as one, by direction and number."""
    numbers: dict[Key, int] = defaultdict(int)
    batches: list[dict[Key, Call]] = []
    last = None
    for call, together in calls:
        way: Key = (call.ranks, call.group)
        if together != last:
            batches.append({})
        batches[-1][*way, numbers[way]] = call
        numbers[way] += 1
        last = together
    return batches
