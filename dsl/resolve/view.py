"""What a cross check sees of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..diagnostics import Label
from ..evaluate import FAILED
from ..schema.base import Record
from .resolver import Resolver


class Unsettled(Exception):
    """A setting that a check needs has no value; why was reported."""


@dataclass(frozen=True)
class View:
    """Values of settings by path."""

    run: Resolver

    def get(self, path: str) -> object:
        """The value; Unsettled where there is none."""
        value = self.run.value(path)
        if value is FAILED:
            raise Unsettled
        return value

    def given(self, path: str) -> bool:
        """Whether the setting was written."""
        return self.run.given(path)

    def kind(self, path: str) -> str:
        """Name of the variant that a setting holds."""
        value = self.get(path)
        return value.kind if isinstance(value, Record) else str(value)

    def settled(self) -> Iterator[tuple[str, object]]:
        """Every setting that was written and has a value."""
        for path in self.run.layered.entries:
            value = self.run.value(path)
            if value is not FAILED:
                yield path, value

    def error(self, code: str, path: str, message: str, remedy: str, other: str | None = None) -> None:
        """An error at a setting, with a second place where another disagrees."""
        labels = (Label(self.run.place(other), f"`{other}` is given here"),) if other and self.given(other) else ()
        self.run.sink.error(code, message, self.run.place(path), remedy, labels)

    def advise(self, code: str, path: str, message: str, remedy: str) -> None:
        """Advice at a setting."""
        self.run.sink.warning(code, message, self.run.place(path), remedy)
