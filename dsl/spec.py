"""A resolved spec: every setting has its value, and every value knows where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from . import ast
from .schema.checkpoint import Checkpoint
from .schema.cluster import Cluster
from .schema.communication import Communication
from .schema.compression import Compression
from .schema.data import Data
from .schema.export import Export
from .schema.memory import Memory
from .schema.model import ModelSettings
from .schema.observe import Observe
from .schema.optimizer import Optimizer
from .schema.parallel import Parallel
from .schema.precision import Precision
from .schema.schedule import Schedule
from .schema.sections import SECTIONS
from .schema.training import Training
from .schema.types import settings_of, to_json
from .source import Source, Span
from .values import Symbol, Variant


@dataclass(frozen=True)
class Origin:
    """Where a value came from: `span` is None for a default and for what follows from other settings."""

    how: Literal["file", "profile", "flag", "default", "derived"]
    span: Span | None = None
    profile: str | None = None

    def __str__(self) -> str:
        place = f"profile {self.profile}, {self.span}" if self.profile else str(self.span)
        return place if self.span else self.how


@dataclass(eq=False)
class Scope:
    """What the text of one file can name; a block's own parameters and bindings come before these."""

    blocks: dict[str, Definition] = field(default_factory=dict)
    externs: dict[str, ast.Extern] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Definition:
    """A block and the scope of the file (or model) it was written in."""

    block: ast.Block
    scope: Scope


@dataclass(frozen=True, eq=False)
class Spec:
    """One run, settled. `scope` is the model's: its constants, blocks and externs, then those of the file."""

    source: Source
    profile: str | None
    name: str
    forward: ast.Block
    scope: Scope
    model: ModelSettings
    data: Data
    training: Training
    optimizer: Optimizer
    schedule: Schedule
    precision: Precision
    parallel: Parallel
    cluster: Cluster
    memory: Memory
    communication: Communication
    checkpoint: Checkpoint
    compression: Compression
    export: Export
    observe: Observe
    constants: Mapping[str, object]
    origins: Mapping[str, Origin]

    def setting(self, path: str) -> object:
        """Value of `section.setting` or of a constant `model.name`; KeyError where there is none."""
        section, _, name = path.partition(".")
        if section == "model" and name in self.constants:
            return self.constants[name]
        owner = getattr(self, section) if section in SECTIONS else None
        if owner is None:
            raise KeyError(path)
        return getattr(owner, settings_of(type(owner))[name].attribute)

    def span(self, path: str) -> Span | None:
        """Where a setting was written, None for a default."""
        origin = self.origins.get(path)
        return origin.span if origin else None

    def canonical(self) -> dict[str, object]:
        """Everything resolved, as plain JSON in a fixed order."""
        sections = {name: to_json(getattr(self, name)) for name in SECTIONS}
        constants = {name: plain(value) for name, value in sorted(self.constants.items())}
        return {"profile": self.profile, **sections, "constants": constants}


def plain(value: object) -> object:
    """A constant as JSON: a bare name is its text, a variant `{"kind": ..., ...}`."""
    if isinstance(value, Variant):
        arguments = [plain(item) for item in value.positional]
        return {"kind": value.kind, "arguments": arguments} | {name: plain(item) for name, item in value.named}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.name if isinstance(value, Symbol) else to_json(value)
