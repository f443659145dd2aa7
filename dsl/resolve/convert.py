"""From the expression of a setting to its value: the type decides what bare names and calls mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import ast
from ..diagnostics import Fix, Label, Sink
from ..evaluate import FAILED, evaluate
from ..evaluate import describe as describe_value
from ..schema.base import Record, Rule
from ..schema.types import Plain, Type, describe, settings_of
from ..source import Span
from ..suggest import correction
from ..values import AUTO, DIMENSIONS, Quantity, Symbol

# Dimensions in which a plain number has one obvious meaning: `steps: 300`, `validation: 0.02`.
_PLAIN_NUMBERS = frozenset(("share", "steps", "epochs", "tokens", "samples"))
_PYTHON: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "bool": bool, "str": str}


@dataclass(frozen=True)
class Converter:
    """`lookup` gives names their values; `constant` the expression of a `let`, so that it may hold a variant."""

    sink: Sink
    lookup: Callable[[ast.Name], object]
    constant: Callable[[ast.Name], ast.Expr | None]

    def convert(self, expr: ast.Expr, type_: Type, rule: Rule, what: str, depth: int = 0) -> object:
        """The value, or FAILED once the reason is in the sink; `what` names the setting in messages."""
        if isinstance(expr, ast.Hole):
            return FAILED
        if isinstance(expr, ast.Name):
            return self._name(expr, type_, rule, what, depth)
        if isinstance(expr, ast.Call) and type_.kinds:
            return self._call(expr, type_, what, depth)
        if isinstance(expr, ast.Sequence) and (type_.fixed or type_.many):
            return self._sequence(expr, type_, rule, what, depth)
        return self._admit(evaluate(expr, self.lookup, self.sink), expr, type_, rule, what)

    def _name(self, expr: ast.Name, type_: Type, rule: Rule, what: str, depth: int) -> object:
        word = expr.text
        if word in type_.choices:
            return word
        if word == "auto":
            return AUTO if type_.auto else self._wrong(expr, type_, what)
        kind = type_.kind(word)
        if kind is not None:
            return self._record(expr, kind, (), what, depth)
        held = self.constant(expr)
        if held is not None and depth < 20:
            return self.convert(held, type_, rule, what, depth + 1)
        if len(expr.path) == 1 and type_.words:
            return self._unknown_word(word, expr.span, type_, what)
        return self._admit(self.lookup(expr), expr, type_, rule, what)

    def _unknown_word(self, word: str, span: Span, type_: Type, what: str) -> object:
        fix = correction(word, type_.words, span) if len(self.sink) < 200 else None
        remedy = f"a similar one exists: `{fix.replacement}`" if fix else f"it takes {describe(type_)}"
        self.sink.error("E0204", f"`{what}` has no choice `{word}`", span, remedy, fix=fix)
        return FAILED

    def _call(self, expr: ast.Call, type_: Type, what: str, depth: int) -> object:
        kind = type_.kind(expr.function.text)
        if kind is None:
            return self._unknown_word(expr.function.text, expr.function.span, type_, what)
        return self._record(expr, kind, expr.arguments, what, depth)

    def _record(
        self, expr: ast.Expr, kind: type[Record], arguments: tuple[ast.Argument, ...], what: str, depth: int
    ) -> object:
        """A variant from its arguments: positional ones in the order of the schema."""
        settings = settings_of(kind)
        given: dict[str, ast.Argument] = {}
        failed = False
        for place, argument in enumerate(arguments):
            name = argument.name if argument.name is not None else next(iter([*settings][place : place + 1]), None)
            failed |= not self._accept(argument, name, given, kind)
        for setting in settings.values():
            if setting.rule.required and setting.name not in given and not failed:
                remedy = f"`{setting.name}`: {setting.rule.doc[0].lower()}{setting.rule.doc[1:]}"
                self.sink.error("E0213", f"`{kind.kind}` needs `{setting.name}`", expr.span, remedy)
                failed = True
        values = {
            name: self.convert(a.value, settings[name].type, settings[name].rule, f"{what}.{name}", depth + 1)
            for name, a in given.items()
        }
        if failed or any(value is FAILED for value in values.values()):
            return FAILED
        return kind(**{settings[name].attribute: value for name, value in values.items()})

    def _accept(
        self, argument: ast.Argument, name: str | None, given: dict[str, ast.Argument], kind: type[Record]
    ) -> bool:
        """Whether an argument has its place in the variant."""
        settings = settings_of(kind)
        names = ", ".join(f"`{n}`" for n in settings) or "no arguments"
        if name is None:
            self.sink.error(
                "E0213",
                f"`{kind.kind}` takes at most {len(settings)} argument{'s' * (len(settings) != 1)}",
                argument.span,
                f"it takes {names}",
            )
            return False
        if name not in settings:
            span = argument.name_span or argument.span
            fix = correction(name, settings, span)
            remedy = f"a similar one exists: `{fix.replacement}`" if fix else f"it takes {names}"
            self.sink.error("E0212", f"`{kind.kind}` has no argument `{name}`", span, remedy, fix=fix)
            return False
        if name in given:
            if given[name].name is None:  # two of one name are an error of the call already
                label = Label(given[name].span, "first given here, by its place")
                self.sink.error("E0202", f"`{name}` is given twice", argument.span, "remove one of the two", (label,))
            return False
        given[name] = argument
        return True

    def _sequence(self, expr: ast.Sequence, type_: Type, rule: Rule, what: str, depth: int) -> object:
        if type_.fixed and len(expr.items) != len(type_.fixed):
            found = f"`{what}` takes {len(type_.fixed)} values, not {len(expr.items)}"
            self.sink.error("E0207", found, expr.span, f"it takes {describe(type_)}")
            return FAILED
        item_types = type_.fixed or (type_.many,) * len(expr.items)
        values = [
            self.convert(item, item_type, rule, what, depth + 1)
            for item, item_type in zip(expr.items, item_types, strict=True)
            if item_type
        ]
        return FAILED if any(value is FAILED for value in values) else tuple(values)

    def _admit(self, value: object, expr: ast.Expr, type_: Type, rule: Rule, what: str) -> object:
        """A computed value, if its type, unit and size are right."""
        if value is FAILED:
            return FAILED
        if value is None and (type_.none or "none" in type_.choices):
            return None if type_.none else "none"
        if value is AUTO and type_.auto:
            return AUTO
        if isinstance(value, Record):
            return value if type(value) in type_.kinds else self._wrong(expr, type_, what, value)
        if isinstance(value, Symbol) and value.name in type_.choices:
            return value.name
        if isinstance(value, str) and value in type_.choices and isinstance(expr, ast.Name):
            return value
        if isinstance(value, tuple) and (type_.fixed or type_.many):
            return value if self._same_shape(value, type_) else self._wrong(expr, type_, what, value)
        for plain in type_.plain:
            fitted = _fit(value, plain)
            if fitted is not FAILED:
                return fitted if self._in_range(fitted, plain, expr, rule, what) else FAILED
        return self._unit_or_type(value, expr, type_, what)

    def _same_shape(self, value: tuple[object, ...], type_: Type) -> bool:
        """Whether a tuple from elsewhere (`let`, another setting) has this type; its numbers were checked there."""
        items = type_.fixed or (type_.many,) * len(value)
        fits = [any(_fit(v, p) is not FAILED for p in t.plain) for v, t in zip(value, items, strict=False) if t]
        return len(items) == len(value) and all(fits)

    def _in_range(self, value: object, plain: Plain, expr: ast.Expr, rule: Rule, what: str) -> bool:
        number = value.value if isinstance(value, Quantity) else value
        if isinstance(number, (bool, str)) or not isinstance(number, (int, float)):
            return True
        share = plain.dimensions == ("share",)
        bounds = (
            (rule.least is not None and number < rule.least, "at least", rule.least),
            (rule.most is not None and number > rule.most, "at most", rule.most),
            (rule.above is not None and number <= rule.above, "above", rule.above),
            (rule.below is not None and number >= rule.below, "below", rule.below),
        )
        for broken, word, bound in bounds:
            if broken and bound is not None:
                message = f"`{what}` is {_text(number, share)}, but it must be {word} {_text(bound, share)}"
                self.sink.error("E0211", message, expr.span, rule.doc)
                return False
        return True

    def _unit_or_type(self, value: object, expr: ast.Expr, type_: Type, what: str) -> object:
        """Says what is wrong with a number: its unit where that is the matter."""
        dimensions = [d for p in type_.plain for d in p.dimensions]
        if isinstance(value, Quantity):
            found = f"`{what}` takes {describe(type_)}, not {DIMENSIONS[value.dimension][0]}"
            self.sink.error("E0208", found, expr.span, _examples(dimensions) or "write it without a unit")
            return FAILED
        if dimensions and isinstance(value, (int, float)) and not isinstance(value, bool):
            if len(dimensions) == 1 and dimensions[0] in _PLAIN_NUMBERS:
                return self._wrong(expr, type_, what, value)
            self.sink.error(
                "E0208", f"`{what}` needs a unit: it takes {describe(type_)}", expr.span, _examples(dimensions)
            )
            return FAILED
        return self._wrong(expr, type_, what, value)

    def _wrong(self, expr: ast.Expr, type_: Type, what: str, value: object = None) -> object:
        found = describe_value(value) if value is not None else f"`{_short(expr.span.text)}`"
        fix = None
        if isinstance(value, str) and value in type_.words:
            fix = Fix(expr.span, value)
        remedy = f"write `{fix.replacement}` without quotes" if fix else None
        if isinstance(value, float) and any(plain.kind == "int" for plain in type_.plain):
            remedy = "write a whole number"
        self.sink.error("E0207", f"`{what}` takes {describe(type_)}, not {found}", expr.span, remedy, fix=fix)
        return FAILED


def _fit(value: object, plain: Plain) -> object:
    """The value as the plain type keeps it, FAILED if it is of another."""
    if isinstance(value, Quantity):
        if value.dimension not in plain.dimensions:
            return FAILED
        if plain.tagged:
            counts = value.dimension not in ("share", "seconds")
            return FAILED if counts and float(value.value) != int(value.value) else value
        value = value.value
    elif plain.tagged or (plain.dimensions and plain.dimensions[0] not in _PLAIN_NUMBERS):
        return FAILED
    if isinstance(value, bool) is not (plain.kind == "bool") or not isinstance(value, _PYTHON[plain.kind]):
        return int(value) if plain.kind == "int" and isinstance(value, float) and value.is_integer() else FAILED
    if plain.kind == "float" and isinstance(value, (int, float)):
        return float(value) if abs(value) < 2**1023 else FAILED
    return value


def _examples(dimensions: list[str]) -> str | None:
    return f"write {' or '.join(f'`{DIMENSIONS[d][1]}`' for d in dimensions)}" if dimensions else None


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _text(number: float, share: bool) -> str:
    if share:
        return f"{number * 100:g}%"
    return f"{number:_}" if isinstance(number, int) else f"{number:g}"
