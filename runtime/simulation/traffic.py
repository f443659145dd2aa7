"""What a rank moved in a step, by axis of the mesh and kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from .events import Call, Record


def moved(record: Record, axes: Mapping[str, int]) -> dict[tuple[str, str], tuple[int, int]]:
    """Calls and bytes by axis and kind, without those of the start; `axes` are sizes of the mesh, outermost first."""
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for event in record:
        if isinstance(event, Call) and event.size and not event.once:
            amount = found[axis_of(event.ranks, axes), event.kind]
            amount[0] += 1
            amount[1] += event.size
    return {key: (calls, size) for key, (calls, size) in found.items()}


def axis_of(ranks: Sequence[int], axes: Mapping[str, int]) -> str:
    """The axis on which ranks differ; "world" where they differ on several."""
    places = [coordinates(rank, axes) for rank in ranks]
    differing = [name for i, name in enumerate(axes) if len({place[i] for place in places}) > 1]
    return differing[0] if len(differing) == 1 else "world"


def coordinates(rank: int, axes: Mapping[str, int]) -> tuple[int, ...]:
    """The places of a rank on the axes, the outermost first."""
    found = []
    for size in reversed(list(axes.values())):
        rank, index = divmod(rank, size)
        found.append(index)
    return tuple(reversed(found))
