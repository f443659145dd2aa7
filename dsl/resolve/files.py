"""Files of a spec: reading them, their imports, and what each can name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .. import ast
from ..diagnostics import Label, Sink
from ..parse import parse
from ..read import read
from ..source import Source, Span
from ..spec import Definition, Scope
from ..suggest import correction

LIBRARY = Path(__file__).parents[1] / "std"
PRELUDE = "prelude"


@dataclass(eq=False)
class Unit:
    """A file with what it imports; `scope` holds what its text can name, without constants of a model."""

    file: ast.File
    library: bool
    imports: list[Unit] = field(default_factory=list)
    scope: Scope = field(default_factory=Scope)
    lets: dict[str, tuple[ast.Let, Unit]] = field(default_factory=dict)

    @property
    def source(self) -> Source:
        """The file's text."""
        return self.file.span.source

    def order(self) -> list[Unit]:
        """The files of a spec, the imported before the importing, each once, without the library."""
        found: dict[int, Unit] = {}
        for unit in self.imports:
            found |= {id(u): u for u in unit.order()}
        return [*found.values(), *([] if self.library else [self])]


class Loader:
    """Reads a file and what it imports; each file once, and a cycle is an error."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.open: list[Path] = []
        self.done: dict[Path, Unit] = {}

    def load(self, source: Source, path: Path) -> Unit:
        """The unit of a text that lies, or would lie, at `path`."""
        unit = Unit(parse(source, self.sink), library=False)
        self.open.append(path)
        for statement in unit.file.body:
            if isinstance(statement, ast.Import):
                self._add(unit, statement, path)
        self.open.pop()
        fill(unit, self.sink)
        self.done[path] = unit
        return unit

    def _add(self, unit: Unit, statement: ast.Import, path: Path) -> None:
        found = self._file(statement, path) if statement.is_file else self._library(statement)
        if found is not None and found not in unit.imports:
            unit.imports.append(found)

    def _library(self, statement: ast.Import) -> Unit | None:
        name = statement.target.removeprefix("std.")
        known = library_names()
        if statement.target.startswith("std.") and name in known:
            return library(name)
        names = [f"std.{other}" for other in known]
        fix = correction(statement.target, names, Span(statement.span.source, statement.span.end, statement.span.end))
        remedy = f"a similar one exists: `{fix.replacement}`" if fix else f"it has {', '.join(names) or 'no modules'}"
        self.sink.error("E0603", f"the library has no `{statement.target[:80]}`", statement.span, remedy)
        return None

    def _file(self, statement: ast.Import, path: Path) -> Unit | None:
        try:
            target = (path.parent / statement.target).resolve()
        except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links
            target = path.parent / statement.target.replace("\0", "?")
        if target in self.open:
            chain = " -> ".join(p.name for p in [*self.open[self.open.index(target) :], target])
            self.sink.error(
                "E0602", f"imports form a cycle: {chain}", statement.span, "move what both need to a third file"
            )
            return None
        if target in self.done:
            return self.done[target]
        source = self._read(target, str(Path(statement.span.source.name).parent / statement.target), statement)
        return None if source is None else self.load(source, target)

    def _read(self, target: Path, name: str, statement: ast.Import) -> Source | None:
        try:
            found = read(target, self.sink)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "bad path"
            message = f'"{statement.target[:80]}" cannot be read: {reason}'
            self.sink.error("E0601", message, statement.span, "the path is relative to the importing file")
            return None
        return None if found is None else Source(name, found.text)


def library_names() -> list[str]:
    """The modules of the library, without the prelude."""
    return sorted(p.stem for p in LIBRARY.glob("*.dsk") if p.stem != PRELUDE)


@cache
def library(name: str) -> Unit:
    """A module of the library; a finding in it is a fault of this package."""
    sink = Sink()
    source = Source(f"std/{name}.dsk", (LIBRARY / f"{name}.dsk").read_text(encoding="utf-8"))
    unit = Unit(parse(source, sink), library=True)
    targets = [s.target.removeprefix("std.") for s in unit.file.body if isinstance(s, ast.Import)]
    unit.imports = [library(target) for target in targets]
    fill(unit, sink, prelude=name != PRELUDE)
    assert not sink.failed, [d.message for d in sink]
    return unit


def fill(unit: Unit, sink: Sink, prelude: bool = True) -> None:
    """Gives a unit its scope: the prelude, then what it imports, then its own."""
    places: dict[str, Span] = {}
    if prelude and (LIBRARY / f"{PRELUDE}.dsk").exists():
        _bring(unit, library(PRELUDE))
    for imported in unit.imports:
        for name, span in _names(imported).items():
            _claim(name, span, places, sink)
        _bring(unit, imported)
    for name, span in _names(unit).items():
        _claim(name, span, places, sink)
    seen: dict[str, Span] = {}
    for statement in unit.file.body:
        if not isinstance(statement, (ast.Block, ast.Extern, ast.Let)):
            continue
        if statement.name in seen:
            label = Label(seen[statement.name], "first defined here")
            sink.error("E0216", f"`{statement.name}` is defined twice", statement.name_span, "rename one", (label,))
            continue
        seen[statement.name] = statement.name_span
        define(unit.scope, statement, unit)


def define(scope: Scope, statement: ast.Block | ast.Extern | ast.Let, unit: Unit) -> None:
    """Adds a definition to a scope."""
    if isinstance(statement, ast.Block):
        scope.blocks[statement.name] = Definition(statement, scope)
        scope.externs.pop(statement.name, None)
    elif isinstance(statement, ast.Extern):
        scope.externs[statement.name] = statement
        scope.blocks.pop(statement.name, None)
    else:
        unit.lets[statement.name] = (statement, unit)


def _names(unit: Unit) -> dict[str, Span]:
    """What a file defines for those who import it."""
    return {s.name: s.name_span for s in unit.file.body if isinstance(s, (ast.Block, ast.Extern, ast.Let))}


def _bring(unit: Unit, imported: Unit) -> None:
    own = _names(imported)
    unit.scope.blocks |= {n: d for n, d in imported.scope.blocks.items() if n in own}
    unit.scope.externs |= {n: e for n, e in imported.scope.externs.items() if n in own}
    unit.lets |= {n: held for n, held in imported.lets.items() if n in own}


def _claim(name: str, span: Span, places: dict[str, Span], sink: Sink) -> None:
    if name in places and places[name] != span and places[name].source is not span.source:
        label = Label(places[name], "also defined here")
        sink.error("E0216", f"`{name}` is defined in two files", span, "rename one of the two", (label,))
    places.setdefault(name, span)
