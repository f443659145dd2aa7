"""Gradients on their way over the data axis, as `runtime.replicated` sends them while backward still runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from .ledger import Ledger, Storage

BUCKET: Final = 25 << 20
"""Bytes of gradients after which they are sent."""
IN_FLIGHT: Final = 4
"""Buckets on their way at a time; each is a copy of its gradients, and goes when the fifth after it is sent."""


@dataclass
class Buckets:
    """In backward of the last micro-batch: `ready` are bytes of complete gradients that wait for a bucket to fill."""

    ledger: Ledger
    flight: deque[Storage] = field(default_factory=deque)
    ready: int = 0

    @property
    def size(self) -> int:
        """Bytes on their way."""
        return sum(each.size for each in self.flight)

    def add(self, size: int) -> None:
        """A gradient is complete."""
        self.ready += size
        if self.ready >= BUCKET:
            self._send()

    def finish(self) -> None:
        """After backward the rest is sent, and all arrive."""
        if self.ready:
            self._send()
        while self.flight:
            self.ledger.drop(self.flight.popleft())

    def _send(self) -> None:
        if len(self.flight) == IN_FLIGHT:
            self.ledger.drop(self.flight.popleft())
        self.ledger.doing = "gradients added up over the data axis"
        self.flight.append(self.ledger.new(self.ready, "communication"))
        self.ready = 0
