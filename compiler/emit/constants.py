"""Constants of `train.py`: the settings that it uses, each with the line of the spec that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...dsl.spec import Spec
from ...dsl.values import Quantity
from .layout import commented
from .text import identifier, literal, place


@dataclass
class Constants:
    """Collects the constants in the order of their use; each name once."""

    spec: Spec
    rows: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, value: object, setting: str = "") -> str:
        """Defines a constant; its name."""
        note = place(self.spec.span(setting)) if setting else ""
        self.rows.setdefault(name, commented([f"{identifier(name)} = {literal(value)}"], note, 0))
        return name

    def lines(self) -> list[str]:
        """All of them."""
        return [line for row in self.rows.values() for line in row]


@dataclass
class Length:
    """How long training is: what is known when compiling, and lines that compute the rest from the data's size.

    `ranks` share the batch: those of the data axis.
    """

    constants: Constants
    ranks: int = 1
    steps: int | None = None
    derived: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Samples of one optimizer step."""
        training = self.constants.spec.training
        return training.micro_batch_size * training.gradient_accumulation * self.ranks

    @property
    def tokens(self) -> int:
        """Tokens of one optimizer step."""
        return self.samples * (self.constants.spec.data.sequence or 1)

    def resolve(self) -> str:
        """The expression of the number of steps."""
        training = self.constants.spec.training
        if training.epochs is not None:
            self.constants.add("EPOCHS", training.epochs, "training.epochs")
            self.derived.append(f"steps = math.ceil(EPOCHS * len(training) / {self._group()})")
            return "steps"
        if training.tokens is not None:
            self.steps = math.ceil(training.tokens / self.tokens)
            return self.constants.add("STEPS", self.steps, "training.tokens")
        self.steps = training.steps
        return self.constants.add("STEPS", self.steps, "training.steps")

    def per_step(self) -> str:
        """Samples of one optimizer step, as an expression."""
        several = self.constants.spec.training.gradient_accumulation > 1
        factors = ["MICRO_BATCH", *(["ACCUMULATION"] if several else []), *(["DATA.size"] if self.ranks > 1 else [])]
        return " * ".join(factors)

    def duration(self, name: str, value: Quantity, setting: str) -> str:
        """A length in steps: a constant, or a variable where it is a share of a length that the data decide."""
        if value.dimension == "steps":
            return self.constants.add(name, int(value.value), setting)
        if self.steps is not None:
            return self.constants.add(name, round(value.value * self.steps), setting)
        self.constants.add(name, value.value, setting)
        self.derived.append(f"{name.lower()} = round({name} * steps)")
        return name.lower()

    def interval(self, name: str, value: Quantity, setting: str) -> str:
        """An interval in steps, at least one."""
        if value.dimension == "steps":
            return self.constants.add(name, max(1, int(value.value)), setting)
        if value.dimension in ("samples", "tokens"):
            each = self.samples if value.dimension == "samples" else self.tokens
            return self.constants.add(name, max(1, round(value.value / each)), setting)
        self.constants.add(name, value.value, setting)
        self.derived.append(f"{name.lower()} = max(1, round({name} * len(training) / {self._group()}))")
        return name.lower()

    def _group(self) -> str:
        text = self.per_step()
        return f"({text})" if "*" in text else text
