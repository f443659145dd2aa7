"""The faults that a run can be given: their names, their settings, and lists of them written or drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..errors import RunError
from .job import Shape

MOMENTS: Final = {
    "step": "when the step is done",
    "create": "before the folder of the next checkpoint is made",
    "write": "before one of its files is opened for writing",
    "manifest": "before the list of its files is written",
    "publish": "before it is renamed to its final name",
    "remove": "while an old checkpoint is removed",
}
SAVING: Final = tuple(moment for moment in MOMENTS if moment != "step")
FILES: Final = ("model", "training", "state", "manifest")


@dataclass(frozen=True)
class Kind:
    """One kind of fault: `settings` and their defaults (None: chosen by chance), and what the run is to show of it.

    `ends` says that ranks die of it, so that the run has to come back; `shows` are the events (runtime/events.py) of
    which one has to be there afterwards; `weight` is how often it is drawn.
    """

    name: str
    doc: str
    shows: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    ends: bool = True
    weight: int = 1


KINDS: Final = (
    Kind("kill", "SIGKILL to a rank, at a step or in the middle of a save", ("died",),
         {"rank": None, "at": "step", "after": 0.0}, weight=6),
    Kind("segfault", "SIGSEGV to a rank", ("died",), {"rank": None, "at": "step", "after": 0.0}, weight=2),
    Kind("hang", "SIGSTOP to a rank: it is there and does nothing", ("hang",), {"rank": None}, weight=2),
    Kind("node", "SIGKILL to all processes of a node at once", ("died", "started"),
         {"node": None, "at": "step"}, weight=2),
    Kind("rendezvous", "SIGKILL to the launcher that hosts the rendezvous", ("started",), weight=1),
    Kind("terminate", "SIGTERM to all launchers, as before a preemption", ("preempted",), weight=1),
    Kind("truncate", "the newest checkpoint loses the end of a file; then a rank is killed", ("damaged",),
         {"file": None, "rank": None}, weight=2),
    Kind("bit-flip", "one bit of the newest checkpoint is flipped; then a rank is killed", ("damaged",),
         {"file": None, "rank": None}, weight=2),
    Kind("disk-full", "no room for checkpoints until a save has failed", ("save_failed",), ends=False, weight=2),
    Kind("slow-disk", "every operation on the files of a checkpoint takes SECONDS longer", ("saved",),
         {"seconds": 0.1}, ends=False, weight=1),
    Kind("clock", "the wall clock of all processes jumps by SECONDS", ("saved", "finished", "started"),
         {"seconds": None}, ends=False, weight=1),
)  # fmt: skip
BY_NAME: Final = {kind.name: kind for kind in KINDS}
JUMPS: Final = (3600.0, -3600.0, 86_400.0, -86_400.0, 45.0, -45.0)


@dataclass(frozen=True)
class Fault:
    """A fault that is to strike when a step is done."""

    kind: Kind
    step: int
    settings: Mapping[str, object]

    def __str__(self) -> str:
        given = {name: value for name, value in self.settings.items() if value != self.kind.settings[name]}
        shown = ",".join(f"{name}={_shown(value)}" for name, value in given.items())
        return f"{self.kind.name}{':' if shown else ''}{shown}@{self.step}"

    def number(self, name: str) -> float:
        """A setting that is a number."""
        return float(str(self.settings[name]))


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse(text: str) -> Fault:
    """`KIND@STEP` or `KIND:NAME=VALUE,...@STEP`; `RunError` says what is wrong with it."""
    head, found, step = text.rpartition("@")
    if not found or not step.isdigit() or int(step) < 1:
        raise RunError(f"fault {text!r} does not say at which step it strikes, as in kill@20")
    name, _, rest = head.partition(":")
    kind = BY_NAME.get(name)
    if kind is None:
        raise RunError(f"no fault is called {name!r}; there are {', '.join(BY_NAME)}")
    given = dict(kind.settings)
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if key not in given or not equals:
            takes = ", ".join(given) or "nothing"
            raise RunError(f"fault {text!r}: {name} has no setting {part!r}; it takes {takes}")
        given[key] = _value(text, key, value)
    return Fault(kind, int(step), given)


def _value(text: str, key: str, value: str) -> object:
    choices = {"at": tuple(MOMENTS), "file": FILES}.get(key)
    if choices is not None:
        if value not in choices:
            raise RunError(f"fault {text!r}: {key} is one of {', '.join(choices)}")
        return value
    try:
        return int(value) if key in ("rank", "node") else float(value)
    except ValueError:
        raise RunError(f"fault {text!r}: {key} is a number") from None


def chosen(fault: Fault, shape: Shape, chance: random.Random) -> Fault:
    """The same with everything that was left to chance decided; `RunError` where there is no such rank or node."""
    options: dict[str, Sequence[object]] = {
        "rank": range(shape.world), "node": range(shape.nodes), "file": FILES, "seconds": JUMPS,
    }  # fmt: skip
    settings = {
        name: chance.choice(options[name]) if value is None else value for name, value in fault.settings.items()
    }
    for name, there in (("rank", shape.world), ("node", shape.nodes)):
        if not 0 <= int(str(settings.get(name, 0))) < there:
            raise RunError(f"fault {fault}: there are {there} {name}s, counted from 0")
    return Fault(fault.kind, fault.step, settings)


def draw(count: int, first: int, last: int, chance: random.Random) -> list[Fault]:
    """`count` faults at distinct steps in first..last, spread over it, their kinds by weight."""
    if last - first + 1 < count:
        raise RunError(
            f"{count} faults do not fit between step {first} and step {last}; "
            f"give the run more steps, as in --set training.steps={first + 6 * count}"
        )
    drawn = []
    for index in range(count):
        low, high = (first + (last - first + 1) * at // count for at in (index, index + 1))
        kind = chance.choices(KINDS, [kind.weight for kind in KINDS])[0]
        settings = dict(kind.settings)
        if kind.name in ("kill", "node") and chance.random() < 0.5:
            settings["at"] = chance.choice(SAVING)
            if "after" in settings:
                settings["after"] = chance.choice((0.0, 0.001, 0.003))
        drawn.append(Fault(kind, chance.randrange(low, high), settings))
    return drawn
