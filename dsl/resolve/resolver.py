"""Settles every setting: names looked up across sections, each once, cycles found, what is not set derived."""

from __future__ import annotations

from .. import ast
from ..diagnostics import Label, Sink
from ..evaluate import FAILED, evaluate
from ..schema.base import Record
from ..schema.sections import SECTIONS
from ..schema.types import settings_of
from ..source import Span
from ..spec import Definition, Origin, Scope, Spec
from ..suggest import correction
from ..values import Symbol
from .collect import MAX_FINDINGS, Entry, Layered
from .convert import Converter
from .derive import DERIVED
from .files import Unit

MAX_CHAIN = 60


class Resolver:
    """The values of one run: the files, one profile or none, and the flags."""

    def __init__(self, layered: Layered, units: list[Unit], sink: Sink, profile: str | None) -> None:
        self.layered = layered
        self.units = units
        self.sink = sink
        self.profile = profile
        self.values: dict[str, object] = {}
        self.open: list[tuple[str, Span]] = []
        self.origins: dict[str, Origin] = {}
        self.broken = any(unit.file.broken for unit in units)

    @property
    def main(self) -> Unit:
        """The file that was asked for."""
        return self.units[-1]

    def settle(self) -> dict[str, Record | object]:
        """Every section by name; FAILED where a setting of it is."""
        sections: dict[str, Record | object] = {}
        for section in SECTIONS:
            owner = self.layered.owner(section)
            settings = settings_of(owner).values()
            values = {s.attribute: self.value(f"{section}.{s.name}") for s in settings}
            sections[section] = FAILED if any(v is FAILED for v in values.values()) else owner(**values)
        for name in self.layered.constants:
            self.constant(name, self.layered.constants[name].span)
        for unit in self.units:
            for name in unit.lets:
                self.let(unit, name, unit.lets[name][0].span)
        return sections

    def value(self, path: str, used: Span | None = None) -> object:
        """The value of `section.setting`, FAILED where that was reported."""
        if path not in self.values:
            entry = self.layered.entries.get(path)
            with_place = used or (entry.span if entry else self.place(path))
            if not self._enter(path, with_place):
                return FAILED
            self.values[path] = self._settle(path, entry)
            self.open.pop()
        return self.values[path]

    def constant(self, name: str, used: Span) -> object:
        """The value of a constant of the model."""
        path = f"model.{name}"
        if path not in self.values:
            if not self._enter(path, used):
                return FAILED
            entry = self.layered.constants[name]
            self.origins[path] = entry.origin
            self.values[path] = evaluate(entry.value, lambda n: self.lookup(n, entry.unit, "model"), self.sink)
            self.open.pop()
        return self.values[path]

    def let(self, unit: Unit, name: str, used: Span) -> object:
        """The value of a `let`, in the file that holds it."""
        statement, holder = unit.lets[name]
        key = f"let {name} {id(statement)}"
        if key not in self.values:
            if not self._enter(key, used):
                return FAILED
            self.values[key] = evaluate(statement.value, lambda n: self.lookup(n, holder, None), self.sink)
            self.open.pop()
        return self.values[key]

    def lookup(self, name: ast.Name, unit: Unit, section: str | None) -> object:
        """What a name in a value means: a `let`, in the model a constant, or `section.setting`."""
        head, *rest = name.path
        if not rest:
            if section == "model" and head in self.layered.constants:
                return self.constant(head, name.span)
            if head in unit.lets:
                return self.let(unit, head, name.span)
            return Symbol(head) if section in ("model", None) else self._unknown(name, unit)
        if head not in SECTIONS:
            return self._unknown(name, unit)
        if head == "model" and rest[0] in self.layered.constants:
            return self.constant(rest[0], name.span)
        if rest[0] not in settings_of(self.layered.owner(head)):
            return self._unknown(name, unit)
        return self._inside(self.value(f"{head}.{rest[0]}", name.span), name, rest[1:])

    def place(self, path: str) -> Span:
        """Where a setting was written, else its section, else the start of the file."""
        entry = self.layered.entries.get(path) or self.layered.constants.get(path.removeprefix("model."))
        if entry is not None:
            return entry.value.span
        section = self.layered.sections.get(path.split(".")[0])
        return section or Span(self.main.source, 0, 0)

    def given(self, path: str) -> bool:
        """Whether a setting was written anywhere."""
        return path in self.layered.entries

    def spec(self, sections: dict[str, Record | object]) -> Spec:
        """The spec of settled sections; every value has been found good."""
        forward, holder = self.layered.forward, self.layered.unit
        assert forward is not None
        assert holder is not None
        constants = {name: self.values[f"model.{name}"] for name in self.layered.constants}
        scopes = self._scopes(constants, holder)
        titles = self.layered.titles
        self.origins |= {section: origin for section, (_, origin) in titles.items()}
        name = titles["model"][0] if "model" in titles else "model"
        settled: dict[str, object] = dict(sections)
        return Spec(
            self.main.source, self.profile, name, forward, scopes[id(holder.scope)],
            constants=constants, origins=self.origins, **settled,  # type: ignore[arg-type]
        )  # fmt: skip

    def _scopes(self, constants: dict[str, object], holder: Unit) -> dict[int, Scope]:
        """Scopes with the constants of this run; those of the library have their own."""
        scopes = {id(unit.scope): Scope() for unit in self.units}
        for unit in self.units:
            scope = scopes[id(unit.scope)]
            for name, held in unit.scope.blocks.items():
                scope.blocks[name] = Definition(held.block, scopes.get(id(held.scope), held.scope))
            scope.externs |= unit.scope.externs
            scope.constants |= {name: self.let(unit, name, unit.lets[name][0].span) for name in unit.lets}
            if unit is holder:
                scope.constants |= constants
        return scopes

    def _settle(self, path: str, entry: Entry | None) -> object:
        section, name = path.split(".")
        setting = settings_of(self.layered.owner(section))[name]
        if entry is not None:
            self.origins[path] = entry.origin
            value = self._converter(entry.unit, section).convert(entry.value, setting.type, setting.rule, path)
        elif setting.rule.required:
            return self._missing(path, setting.rule.doc)
        else:
            self.origins[path] = Origin("default")
            value = setting.default
        if value is not FAILED and value == setting.default and path in DERIVED:
            derived = DERIVED[path](self)
            if derived is not FAILED and derived != value:
                self.origins[path] = Origin("derived")
            return derived
        return value

    def _missing(self, path: str, doc: str) -> object:
        section, name = path.split(".")
        if not self.broken:
            remedy = f"write `{name}: ...`: {doc[0].lower()}{doc[1:]}"
            self.sink.error("E0214", f"section `{section}` needs `{name}`", self.place(path), remedy)
        return FAILED

    def _converter(self, unit: Unit, section: str) -> Converter:
        def held(name: ast.Name) -> ast.Expr | None:
            found = unit.lets.get(name.text)
            wrapped = found is not None and isinstance(found[0].value, (ast.Call, ast.Name))
            return found[0].value if found and wrapped else None

        return Converter(self.sink, lambda name: self.lookup(name, unit, section), held)

    def _enter(self, key: str, used: Span) -> bool:
        names = [name for name, _ in self.open]
        if key not in names and len(names) >= MAX_CHAIN:
            message = f"values refer to one another more than {MAX_CHAIN} deep"
            self.sink.error("E0302", message, used, "define a value before those that use it")
            return False
        if key not in names:
            self.open.append((key, used))
            return True
        turn = self.open[names.index(key) :]
        chain = " -> ".join(_shown(name) for name in [*names[names.index(key) :], key])
        labels = tuple(Label(span, "and here") for _, span in turn[1:])
        self.sink.error(
            "E0302", f"values refer to each other: {chain}", used, "give one of them a value of its own", labels
        )
        return False

    def _unknown(self, name: ast.Name, unit: Unit) -> object:
        if len(self.sink) > MAX_FINDINGS:  # enough was said; the search for a similar name takes time
            return FAILED
        known = [*unit.lets, *(f"{s}.{n}" for s in SECTIONS for n in settings_of(self.layered.owner(s)))]
        known += [f"model.{constant}" for constant in self.layered.constants]
        fix = correction(name.text, known, name.span)
        whole = f"model.{name.text}"
        remedy = (
            f"a similar one exists: `{fix.replacement}`" if fix else "names are those of `let` and `section.setting`"
        )
        remedy = f"write `{whole}`" if name.text in self.layered.constants else remedy
        self.sink.error("E0205", f"unknown name `{name.text[:80]}`", name.span, remedy, fix=fix)
        return FAILED

    def _inside(self, value: object, name: ast.Name, rest: list[str]) -> object:
        """An argument of a variant: `data.tokenizer.vocab`."""
        for part in rest:
            if value is FAILED:
                return FAILED
            if not isinstance(value, Record) or part not in settings_of(type(value)):
                self.sink.error("E0205", f"`{name.text}` does not exist", name.span, f"there is no `{part}` in it")
                return FAILED
            value = getattr(value, settings_of(type(value))[part].attribute)
        if value is None and not rest:
            self.sink.error("E0305", f"`{name.text}` has no value", name.span, f"set `{name.text}`")
            return FAILED
        return value


def _shown(key: str) -> str:
    return f"`{key.split()[1] if key.startswith('let ') else key}`"
