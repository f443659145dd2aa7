"""Parameters that ZeRO cuts up: when FSDP2 holds them whole, and what it holds on the way (torch 2.13).

A unit is an iteration of a repeat at the model's top; what is in no unit is one more, the root. To gather a unit takes
a flat buffer, from which its parameters are copied. In forward the buffer stays until the next unit is gathered; in
backward the one of the unit before is there already. Gradients of a unit are whole until its backward ends; they are
copied to a buffer in fp32, which stays until the next unit's, and this rank's sum of them is what is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .ledger import Ledger, Storage

Path = tuple[str, ...]
ROOT: Path = ()


@dataclass
class Sharded:
    """`sizes` are elements of one unit by the path of its repeat, and of the root; `width` is of gathered ones."""

    ledger: Ledger
    shard: str
    ranks: int
    width: int
    sizes: dict[Path, int]
    last: bool = False
    flat: Storage | None = None
    ahead: dict[Path, Storage] = field(default_factory=dict)
    sent: Storage | None = None
    whole: dict[Path, Storage] = field(default_factory=dict)
    backward: set[Path] = field(default_factory=set)
    waiting: dict[Path, list[tuple[Storage, int]]] = field(default_factory=dict)
    summed: dict[Path, Storage] = field(default_factory=dict)
    stored: set[Path] = field(default_factory=set)

    def is_unit(self, path: Path) -> bool:
        """Whether a path is an iteration of a repeat whose parameters are gathered together."""
        return len(path) > 1 and path[:-1] in self.sizes

    def begin(self, path: Path) -> None:
        """Before the forward of a unit."""
        if path in self.whole:
            return
        flat = self._asked_for(path)
        self._drop_flat()
        self.whole[path] = self.ledger.new(self._gathered(path), "communication")
        self.flat = flat

    def end(self, path: Path) -> None:
        """After the forward of a unit; in backward its own comes first."""
        if self.shard == "parameters" and path not in self.backward:
            self.ledger.drop(self.whole.pop(path))

    def open(self, path: Path) -> None:
        """Before the backward of a unit: the one that ran before it is asked for as well."""
        self.backward.add(path)
        if path not in self.whole:
            flat = self._asked_for(path)
            self.whole[path] = self.ledger.new(self._gathered(path), "communication")
            self.ledger.drop(flat)
        if self.shard == "parameters" and int(path[-1]) and path[:-1] not in self.ahead:
            self.ahead[path[:-1]] = self.ledger.new(self._gathered(path), "communication")

    def gradient(self, path: Path, made: Storage, count: int) -> None:
        """The whole gradient of a parameter, in the format that it was gathered in."""
        unit = next((path[:i] for i in range(1, len(path)) if self.is_unit(path[:i])), ROOT)
        self.ledger.turn(made, "gradients")
        self.waiting.setdefault(unit, []).append((made, count))

    def close(self, path: Path) -> None:
        """After the backward of a unit, or of all for the root."""
        reduces = self.last or self.shard != "optimizer"
        self.ledger.doing = "gradients scattered over the data axis"
        gradients = self.waiting.pop(path, [])
        if not reduces or path in self.summed:
            self._add(path, gradients)
        if self.last or self.shard == "parameters":
            self.ledger.drop(self.whole.pop(path))
        self.backward.discard(path)
        if reduces:
            self._reduce(path, [made for made, _ in gradients])

    def finish(self) -> None:
        """After the last unit."""
        self.close(ROOT)
        if self.last and self.sent:
            self.ledger.drop(self.sent)
            self.sent = None

    def _add(self, path: Path, gradients: list[tuple[Storage, int]]) -> None:
        """To those of the micro-batches before, in fp32."""
        if path not in self.summed:
            self.summed[path] = self.ledger.new(0, "gradients")
            self.summed[path].size = 0
        total = self.summed[path]
        for made, count in gradients:
            if total.size < 4 * self._elements(path):
                total.size += 4 * count
                self.ledger.add("gradients", 4 * count)
            self.ledger.drop(made)
        gradients.clear()

    def _reduce(self, path: Path, gradients: list[Storage]) -> None:
        if self.sent:
            self.ledger.drop(self.sent)
        size = 4 * self._elements(path)
        self.sent = self.ledger.new(size, "communication")
        for made in gradients:
            self.ledger.drop(made)
        if path in self.summed:
            self.ledger.drop(self.summed.pop(path))
        if path in self.stored:
            self.ledger.burst(size // self.ranks, "communication")
        else:
            self.ledger.add("gradients", size // self.ranks)
        self.stored.add(path)

    def _elements(self, path: Path) -> int:
        return self.sizes[path[:-1] if path else ROOT]

    def _gathered(self, path: Path) -> int:
        return self.width * self._elements(path)

    def _asked_for(self, path: Path) -> Storage:
        return self.ahead.pop(path[:-1], None) or self.ledger.new(self._gathered(path), "communication")

    def _drop_flat(self) -> None:
        if self.flat:
            self.ledger.drop(self.flat)
            self.flat = None
