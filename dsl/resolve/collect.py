"""From statements to settings by path: all files, the profile, the flags, each layer over the one before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from .. import ast
from ..diagnostics import Label, Sink
from ..parse import parse
from ..schema.base import Record
from ..schema.sections import SECTIONS
from ..schema.types import settings_of
from ..source import Source, Span
from ..spec import Definition, Origin
from ..suggest import correction
from .files import Unit, define

MAX_FINDINGS = 200
MAX_PROFILES = 1_000
_TITLED = ("model", "optimizer")
OPEN = ("pipeline_depth", "tensor_model_parallel", "data_parallel", "shard", "schedule")
"""What `parallel: auto` leaves to the planner."""


@dataclass(frozen=True)
class Entry:
    """What a setting was given, and where."""

    value: ast.Expr
    origin: Origin
    span: Span
    unit: Unit


@dataclass(eq=False)
class Layered:
    """All settings that were given, the last layer winning; `titles` are those of sections.

    `misnamed` are the sections with a name that nothing has: what seems to be missing may be meant by it.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    titles: dict[str, tuple[str, Origin]] = field(default_factory=dict)
    sections: dict[str, Span] = field(default_factory=dict)
    profiles: dict[str, tuple[ast.Profile, Unit]] = field(default_factory=dict)
    definitions: dict[str, Definition] = field(default_factory=dict)
    constants: dict[str, Entry] = field(default_factory=dict)
    forward: ast.Block | None = None
    unit: Unit | None = None
    misnamed: frozenset[str] = frozenset()

    def owner(self, section: str) -> type[Record]:
        """The record of a section."""
        title = self.titles[section][0] if section in self.titles else ""
        return next((owner for owner in SECTIONS[section] if owner.kind == title), SECTIONS[section][0])

    def copy(self) -> Layered:
        """One that a profile can be laid over."""
        return Layered(
            dict(self.entries), dict(self.titles), dict(self.sections), self.profiles, self.definitions,
            dict(self.constants), self.forward, self.unit, self.misnamed,
        )  # fmt: skip


class Collector:
    """Sorts the statements of one layer into `into`."""

    def __init__(self, into: Layered, sink: Sink) -> None:
        self.into = into
        self.sink = sink
        self.seen: dict[str, Span] = {}

    def file(self, unit: Unit) -> None:
        """The sections and profiles of a file."""
        self.seen = {}
        for statement in unit.file.body:
            if len(self.sink) > MAX_FINDINGS:
                break
            match statement:
                case ast.Section():
                    self._section(statement, unit)
                case ast.Profile():
                    self._profile(statement, unit)
                case ast.Setting() if statement.path == ("parallel",) and _is_auto(statement.value):
                    self._open(statement, Origin("file", statement.value.span), unit)
                case ast.Setting() | ast.Binding() | ast.Repeat() | ast.If() | ast.Return() | ast.Objective():
                    self._misplaced(statement, "at the top of a file", _remedy(statement))

    def profile(self, profile: ast.Profile, unit: Unit) -> None:
        """The settings of a profile."""
        self.seen = {}
        for statement in profile.body:
            if len(self.sink) > MAX_FINDINGS:
                break
            if isinstance(statement, ast.Setting):
                origin = Origin("profile", statement.value.span, profile.name)
                self._path(statement, origin, unit)
            elif not isinstance(statement, ast.Hole):
                self._misplaced(statement, "in a profile", "a profile holds settings: `training.steps: 10`")

    def flag(self, text: str, unit: Unit) -> None:
        """`section.setting=value` of the command line."""
        name, equals, _ = text.partition("=")
        whole = Span(Source("--set", text), 0, len(text))
        if not equals or not name.strip():
            self.sink.error("E0605", f"`{text[:80]}` has no `=`", whole, "write `--set section.setting=value`")
            return
        parsed, found = parse_flag(name, text)
        for finding in found:
            self.sink.add(finding)
        for statement in parsed.body:
            if isinstance(statement, ast.Setting):
                self._path(statement, Origin("flag", statement.value.span), unit)
            elif not isinstance(statement, ast.Hole):
                self.sink.error("E0605", "a flag holds one setting", whole, "write `--set section.setting=value`")

    def _section(self, section: ast.Section, unit: Unit) -> None:
        if section.name not in SECTIONS:
            self._unknown_section(section.name, section.name_span, "")
            return
        if not self._title(section):
            return
        self.into.sections.setdefault(section.name, section.name_span)
        for statement in section.body:
            if len(self.sink) > MAX_FINDINGS:
                break
            match statement:
                case ast.Setting() if len(statement.path) == 1:
                    self._setting(section.name, statement, Origin("file", statement.value.span), unit)
                case ast.Setting():
                    remedy = f"write `{statement.path[-1]}: ...` in `{statement.path[0]} {{ }}`"
                    self._misplaced(statement, f"in section `{section.name}`", remedy)
                case ast.Block() | ast.Extern() if section.name == "model":
                    self._define(statement, unit)
                case ast.Hole():
                    pass
                case _:
                    self._misplaced(statement, f"in section `{section.name}`", _remedy(statement))

    def _unknown_section(self, name: str, span: Span, rest: str) -> None:
        fix = correction(name, SECTIONS, span)
        owners = [n for n, records in SECTIONS.items() if any(name in settings_of(r) for r in records)]
        remedy = f"a similar one exists: `{fix.replacement}`" if fix else f"sections are {', '.join(SECTIONS)}"
        if owners and not fix and not rest:
            remedy = f"`{name}` is a setting of `{owners[0]}`"
        self.sink.error("E0201", f"unknown section `{name}`", span, remedy, fix=fix)

    def _title(self, section: ast.Section) -> bool:
        """Whether the section is the one of its title, so that its settings can be read."""
        title, span = section.title, section.title_span
        if title is None or span is None:
            return True
        kinds = [owner.kind for owner in SECTIONS[section.name]]
        if section.name not in _TITLED:
            self.sink.error("E0215", f"section `{section.name}` has no title", span, f"write `{section.name} {{`")
        elif section.name == "optimizer" and title not in kinds:
            fix = correction(title, kinds, span)
            remedy = f"a similar one exists: `{fix.replacement}`" if fix else f"it is one of {', '.join(kinds)}"
            self.sink.error("E0204", f"`optimizer` has no choice `{title}`", span, remedy, fix=fix)
            return False
        else:
            return self._retitle(section.name, title, span)
        return True

    def _retitle(self, section: str, title: str, span: Span) -> bool:
        held = self.into.titles.get(section)
        first = held[1].span if held else None
        if held and first and held[0] != title and first.source is span.source:
            label = Label(first, "first given here")
            self.sink.error("E0202", f"`{section}` is both `{held[0]}` and `{title}`", span, "keep one", (label,))
            return False
        if held and held[0] != title and section == "optimizer":
            self._clear(section)  # they belong to another optimizer
        self.into.titles[section] = (title, Origin("file", span))
        return True

    def _clear(self, section: str) -> None:
        for path in [p for p in self.into.entries if p.startswith(f"{section}.")]:
            del self.into.entries[path]

    def _define(self, statement: ast.Block | ast.Extern, unit: Unit) -> None:
        first = self.seen.get(f"block {statement.name}")
        if first is not None:
            label = Label(first, "first defined here")
            self.sink.error(
                "E0216", f"`{statement.name}` is defined twice", statement.name_span, "rename one", (label,)
            )
            return
        self.seen[f"block {statement.name}"] = statement.name_span
        if isinstance(statement, ast.Block) and statement.name == "forward":
            if self.into.forward is not None:
                label = Label(self.into.forward.name_span, "also defined here")
                self.sink.error(
                    "E0216", "`forward` is defined in two files", statement.name_span, "keep one model", (label,)
                )
            self.into.forward, self.into.unit = statement, unit
        else:
            define(unit.scope, statement, unit)

    def _profile(self, profile: ast.Profile, unit: Unit) -> None:
        held = self.into.profiles.get(profile.name)
        if held is not None:
            label = Label(held[0].name_span, "first given here")
            self.sink.error(
                "E0606", f"profile `{profile.name}` is given twice", profile.name_span, "merge them", (label,)
            )
            return
        if len(self.into.profiles) >= MAX_PROFILES:
            message = f"a spec has at most {MAX_PROFILES:,} profiles"
            self.sink.error("E0606", message, profile.name_span, "keep those that are used")
            return
        self.into.profiles[profile.name] = (profile, unit)

    def _path(self, statement: ast.Setting, origin: Origin, unit: Unit) -> None:
        """A setting with its section in its name, or a whole section as a variant: `optimizer: sgd(lr: 0.1)`."""
        section, *rest = statement.path
        if section not in SECTIONS:
            self._unknown_section(section, _part(statement.path_span, 0, len(section)), ".".join(rest))
        elif len(rest) == 1:
            self._setting(section, statement, origin, unit)
        elif not rest and section == "optimizer":
            self._whole(section, statement, origin, unit)
        elif not rest and section == "parallel" and _is_auto(statement.value):
            self._open(statement, origin, unit)
        else:
            remedy = f"write `{section}.setting: value`"
            self._misplaced(statement, "as a path", remedy)

    def _whole(self, section: str, statement: ast.Setting, origin: Origin, unit: Unit) -> None:
        value = statement.value
        name = value if isinstance(value, ast.Name) else value.function if isinstance(value, ast.Call) else None
        kinds = [owner.kind for owner in SECTIONS[section]]
        if name is None or name.text not in kinds:
            fix = correction(name.text, kinds, name.span) if name else None
            remedy = f"it is one of {', '.join(kinds)}"
            span = name.span if name else value.span
            self.sink.error("E0204", f"`{section}` has no choice `{span.text[:40]}`", span, remedy, fix=fix)
            return
        self._clear(section)
        self.into.titles[section] = (name.text, Origin(origin.how, name.span, origin.profile))
        for argument in value.arguments if isinstance(value, ast.Call) else ():
            if argument.name is None or argument.name_span is None:
                self.sink.error("E0213", "settings of a section have names", argument.span, "write `lr: 0.1`")
                continue
            inner = ast.Setting((section, argument.name), argument.value, argument.span, argument.name_span)
            self._setting(section, inner, Origin(origin.how, argument.value.span, origin.profile), unit)

    def _open(self, statement: ast.Setting, origin: Origin, unit: Unit) -> None:
        """`parallel: auto`: all that the planner can choose and that this layer does not give is its to choose."""
        for name in OPEN:
            path = f"parallel.{name}"
            if path not in self.seen:
                self.into.entries[path] = Entry(statement.value, origin, statement.path_span, unit)

    def _setting(self, section: str, statement: ast.Setting, origin: Origin, unit: Unit) -> None:
        name = statement.path[-1]
        path = f"{section}.{name}"
        if path in self.seen:
            label = Label(self.seen[path], "first given here")
            self.sink.error("E0202", f"`{path}` is given twice", statement.path_span, "remove one of the two", (label,))
            return
        self.seen[path] = statement.path_span
        entry = Entry(statement.value, origin, statement.path_span, unit)
        if name in settings_of(self.into.owner(section)):
            self.into.entries[path] = entry
        elif section == "model" and (origin.how == "file" or name in self.into.constants):
            self.into.constants[name] = entry
        else:
            self._unknown(section, name, statement)

    def _unknown(self, section: str, name: str, statement: ast.Setting) -> None:
        owner = self.into.owner(section)
        span = _part(statement.path_span, len(statement.path_span.text) - len(name), len(statement.path_span.text))
        known = [*settings_of(owner), *(self.into.constants if section == "model" else ())]
        fix = correction(name, known, span)
        elsewhere = [
            (other, record)
            for other, records in SECTIONS.items()
            for record in records
            if name in settings_of(record) and record is not owner
        ]
        what = f"section `{section}`" if len(SECTIONS[section]) == 1 else f"`{section} {owner.kind}`"
        if elsewhere and not (fix and fix.safe):
            other, record = elsewhere[0]
            same = " ".join(filter(None, (other, record.kind)))
            remedy, fix = f"`{name}` is a setting of `{same}`", None
        else:
            remedy = f"a similar one exists: `{fix.replacement}`" if fix else f"it has {', '.join(known)}"
        self.into.misnamed |= {section}
        self.sink.error("E0203", f"unknown setting `{name}` in {what}", span, remedy, fix=fix)

    def _misplaced(self, statement: ast.Statement, where: str, remedy: str) -> None:
        words = {ast.Setting: "setting", ast.Section: "section", ast.Binding: "binding"}
        word = words.get(type(statement), type(statement).__name__.lower())
        first = statement.span.text.split("\n")[0]
        span = _part(statement.span, 0, len(first.rstrip(" {")))
        self.sink.error("E0206", f"a {word} has no place {where}", span, remedy)


def _is_auto(value: ast.Expr) -> bool:
    return isinstance(value, ast.Name) and value.text == "auto"


def layers(units: Iterable[Unit], sink: Sink) -> Layered:
    """The settings of all files, the imported first."""
    into = Layered()
    for unit in units:
        Collector(into, sink).file(unit)
    return into


@cache
def parse_flag(name: str, text: str) -> tuple[ast.File, Sink]:
    """Parses `name=value` as the setting `name: value`; the places are those in the flag."""
    found, kept = Sink(), Sink()
    shown = Source("--set", f"{name}:{text[len(name) + 1 :]}")
    file = parse(shown, found)
    for finding in found:
        if finding.code != "E0111":  # a flag has no `dsk 1`
            kept.add(finding)
    return file, kept


def _part(span: Span, start: int, end: int) -> Span:
    return Span(span.source, span.start + start, min(span.start + end, span.end))


def _remedy(statement: ast.Statement) -> str:
    match statement:
        case ast.Setting():
            return "a setting stands in a section: `training { steps: 10 }`"
        case ast.Binding():
            return "a setting is `name: value`; a constant of the file is `let name = value`"
        case ast.Section():
            return "sections stand side by side, not in one another"
        case ast.Block() | ast.Extern():
            return "it stands in `model { }` or at the top of the file"
        case ast.Let() | ast.Import() | ast.Profile():
            return "it stands at the top of the file"
        case _:
            return "it stands in a `block` or in `forward`"
