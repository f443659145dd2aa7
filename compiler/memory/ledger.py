"""Bytes in use while a step is played through, by kind, and the most of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from .stage import KINDS

Amounts = dict[str, int]
Top = tuple[int, Amounts, str]


@dataclass(eq=False)
class Storage:
    """Memory of one tensor and its views; freed when nobody holds it."""

    size: int
    kind: str
    holders: int = 0


@dataclass
class Ledger:
    """`now` is held at this moment, `most` was held at the peak, which came in `moment`."""

    now: Amounts = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    most: Amounts = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    total: int = 0
    peak: int = 0
    moment: str = ""
    doing: str = ""

    def add(self, kind: str, size: int) -> None:
        """Bytes that come, or go if below zero."""
        self.now[kind] += size
        self.total += size
        if self.total > self.peak:
            self.peak, self.most, self.moment = self.total, dict(self.now), self.doing

    def new(self, size: int, kind: str = "transient") -> Storage:
        """Memory that its maker holds."""
        self.add(kind, size)
        return Storage(size, kind, 1)

    def hold(self, storage: Storage) -> Storage:
        """One more holder."""
        storage.holders += 1
        return storage

    def drop(self, storage: Storage) -> None:
        """One holder less."""
        storage.holders -= 1
        assert storage.holders >= 0, "dropped more often than held"
        if not storage.holders:
            self.add(storage.kind, -storage.size)

    def turn(self, storage: Storage, kind: str) -> None:
        """The same memory for another purpose."""
        if storage.kind != kind:
            self.now[storage.kind] -= storage.size
            self.now[kind] += storage.size
            storage.kind = kind

    def burst(self, size: int, kind: str = "transient") -> None:
        """Memory that is gone again at once."""
        self.add(kind, size)
        self.add(kind, -size)

    def top(self) -> Top:
        """The peak so far, for `back_to`."""
        return self.peak, self.most, self.moment

    def back_to(self, top: Top) -> None:
        """Forgets a peak that came later."""
        self.peak, self.most, self.moment = top

    def since(self, before: Amounts) -> Amounts:
        """What has changed, by kind."""
        return {kind: self.now[kind] - before[kind] for kind in KINDS}

    def shift(self, change: Amounts, times: int = 1) -> None:
        """The same changes a number of times more."""
        for kind, size in change.items():
            self.now[kind] += size * times
        self.total += sum(change.values()) * times
        self.add("transient", 0)
