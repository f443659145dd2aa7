"""The TextMate grammar of .dsk files: the one description of colours, for editors and for Pygments alike.

`python -m dskc.dsl.textmate` rewrites the copy that the VS Code extension ships.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .words import CONSTANTS, CONTROL, OBJECTIVES, TYPES, WORD_OPERATORS, Words, words

SHIPPED = Path(__file__).resolve().parents[1] / "editors" / "vscode" / "syntaxes" / "dsk.tmLanguage.json"

_NAME = r"[A-Za-z_]\w*"
_PATH = rf"{_NAME}(?:\.\w+)*"
_NUMBER = r"\b[0-9]+(?:_[0-9]+)*(?:\.[0-9]+(?:_[0-9]+)*)?(?:[eE][+-]?[0-9]+)?"
_GAP = r"[ \t]*"
_NO_SETTING = rf"(?!{_GAP}(?::|=(?!=)))"  # a keyword followed by `:` or `=` is a plain name

Rule = dict[str, Any]


def grammar() -> Rule:
    """The grammar with the words of the schema."""
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "dsk",
        "scopeName": "source.dsk",
        "fileTypes": ["dsk"],
        "patterns": [{"include": "#file"}],
        "repository": {**_statements(words()), **_graph(), **_values(words())},
    }


def _either(names: tuple[str, ...]) -> str:
    return "(?:" + "|".join(names) + ")"


def _captures(*names: str) -> Rule:
    return {str(i): {"name": f"{name}.dsk"} for i, name in enumerate(names, 1) if name}


def _match(pattern: str, *names: str) -> Rule:
    """A rule for one token, or for one per group."""
    if not re.compile(pattern).groups:
        return {"name": f"{names[0]}.dsk", "match": pattern}
    return {"match": pattern, "captures": _captures(*names)}


def _region(begin: str, names: tuple[str, ...], end: str, closing: str | None, *parts: str) -> Rule:
    """From `begin` to `end`, with the rules named `parts` inside; `names` are the scopes of the groups of `begin`."""
    rule: Rule = {"begin": begin, "end": end, "patterns": _include(*parts)}
    if names:
        rule["beginCaptures"] = _captures(*names)
    if closing:
        rule["endCaptures"] = {"0": {"name": f"{closing}.dsk"}}
    return rule


def _include(*parts: str) -> list[Rule]:
    return [{"include": f"#{part}"} for part in parts]


def _group(*parts: str) -> Rule:
    return {"patterns": _include(*parts)}


_BODY, _PARENS, _BRACKETS = (f"punctuation.section.{kind}" for kind in ("body", "parens", "brackets"))
_COLON = "punctuation.separator.key-value"


def _statements(known: Words) -> Rule:
    """What stands outside of blocks: sections with settings, and declarations."""
    header = rf"(?:[ \t]+({_NAME}))?{_GAP}(\{{)"
    section = rf"\b({_either(known.sections)})\b"
    kind = rf"\b({_either(known.kinds)})"
    return {
        "file": _group("comment", "declaration", "definition", "section", "setting", "binding", "in_setting"),
        "in_setting": _group("variant", "constant", "choice", "value"),
        "declaration": {
            "patterns": [
                _match(rf"^{_GAP}(dsk)[ \t]+([0-9]+)\b", "keyword.control.version", "constant.numeric.version"),
                _match(rf"\b(import)[ \t]+({_PATH})", "keyword.control.import", "entity.name.namespace"),
                _match(rf"\b(import)\b(?={_GAP}\")", "keyword.control.import"),
                _match(
                    rf"\b(let)[ \t]+({_NAME}){_GAP}(=)",
                    "storage.type.let", "variable.other.constant", "keyword.operator.assignment",
                ),
                _region(
                    rf"\b(profile)[ \t]+({_NAME}){_GAP}(\{{)",
                    ("storage.type.profile", "entity.name.section.profile", _BODY), r"\}", _BODY, "file",
                ),
                _region(
                    rf"\b(extern)[ \t]+(op)[ \t]+({_NAME})",
                    ("storage.modifier.extern", "storage.type.op", "entity.name.function"), "$", None,
                    "from", "parameters", "comment", "string", "arrow", "tensor_type",
                ),
            ]
        },
        "section": {
            "patterns": [
                _region(
                    section + header, ("keyword.other.section", "entity.name.section", _BODY), r"\}", _BODY, "file"
                ),
                _region(
                    rf"\b({_NAME})" + header, ("entity.name.tag.section", "entity.name.section", _BODY),
                    r"\}", _BODY, "file",
                ),
            ]
        },
        "setting": {
            "patterns": [
                _match(
                    rf"\b((?:\w+\.)*{_either(known.settings)}){_GAP}(:)",
                    "support.type.property-name", _COLON,
                ),
                _match(rf"\b({_PATH}){_GAP}(:)", "variable.other.property", _COLON),
            ]
        },
        "variant": {
            "patterns": [
                _region(rf"{kind}{_GAP}(\()", ("support.type.variant", _PARENS), r"\)", _PARENS, "variant_inside"),
                _region(
                    rf"\b({_PATH}){_GAP}(\()", ("entity.name.type.variant", _PARENS), r"\)", _PARENS, "variant_inside"
                ),
                _match(kind + r"\b(?!\.)", "support.type.variant"),
            ]
        },
        "variant_inside": _group("comment", "argument", "in_setting"),
        "choice": _match(rf"\b({_either(known.choices)})\b(?!\.)", "support.constant.choice"),
    }  # fmt: skip


def _graph() -> Rule:
    """The inside of `block` and `forward`: a graph of calls."""
    return {
        "definition": {
            "patterns": [
                _region(
                    rf"\b(block)[ \t]+({_NAME})", ("storage.type.block", "entity.name.function"), r"(?<=\})", None,
                    "definition_inside",
                ),
                _region(
                    rf"\b(forward)\b(?={_GAP}\()", ("storage.type.forward",), r"(?<=\})", None, "definition_inside"
                ),
            ]
        },
        "definition_inside": _group("comment", "parameters", "body", "arrow", "tensor_type", "comma"),
        "parameters": _region(
            r"(\()", (_PARENS,), r"\)", _PARENS, "comment", "argument", "type", "tensor_type", "call", "value"
        ),
        "type": _match(rf"\b({_either(TYPES)})\b(?!{_GAP}\()", "storage.type"),
        "tensor_type": {"patterns": [*_include("type"), _region(r"(\[)", (_BRACKETS,), r"\]", _BRACKETS, "dimension")]},
        "dimension": {
            "patterns": [
                *_include("comment", "number"),
                _match(rf"\b({_PATH})\b", "variable.other.dimension"),
                *_include("operator", "comma"),
            ]
        },
        "arrow": _match("(->)", "keyword.operator.arrow"),
        "body": _region(r"(\{)", (_BODY,), r"\}", _BODY, "graph"),
        "graph": _group("comment", "binding", "keyword", "label", "body", "call", "setting", "value"),
        "binding": {
            "patterns": [
                _match(rf"\b({_NAME}){_GAP}(=)(?!=)", "variable.other.binding", "keyword.operator.assignment"),
                _region(
                    rf"(\()(?={_GAP}{_NAME}{_GAP}(?:,{_GAP}{_NAME}{_GAP})*,?{_GAP}\){_GAP}=(?!=))", (_PARENS,),
                    r"\)", _PARENS, "bound", "comma",
                ),
            ]
        },
        "bound": _match(rf"\b({_NAME})\b", "variable.other.binding"),
        "keyword": {
            "patterns": [
                _match(rf"\b({_either(CONTROL)})\b{_NO_SETTING}", "keyword.control"),
                _region(
                    rf"\b({_either(OBJECTIVES)})(\()", ("keyword.control.objective", _PARENS), r"\)", _PARENS,
                    "call_inside",
                ),
                _match(rf"\b({_either(OBJECTIVES)})\b{_NO_SETTING}", "keyword.control.objective"),
            ]
        },
        "label": {
            "patterns": [
                _match(rf"\b(as)[ \t]+({_NAME})", "keyword.other.as", "entity.name.label"),
                _match(rf"\b(share)[ \t]+({_PATH})", "keyword.other.share", "entity.name.label"),
            ]
        },
        "call": _region(
            rf"\b({_PATH}){_GAP}(\()", ("entity.name.function.call", _PARENS), r"\)", _PARENS, "call_inside"
        ),
        "call_inside": _group("comment", "argument", "label", "call", "value"),
        "argument": _match(rf"\b({_NAME}){_GAP}(:)", "variable.parameter", _COLON),
        "from": _match(r"\b(from)\b", "keyword.other.from"),
    }  # fmt: skip


def _values(known: Words) -> Rule:
    """What may stand wherever a value does; the last rule leaves nothing without a scope."""
    return {
        "comment": _match("#.*$", "comment.line.number-sign"),
        "value": _group("string", "number", "constant", "arrow", "group", "name", "operator", "comma", "invalid"),
        "string": {
            "name": "string.quoted.double.dsk",
            "begin": '"',
            "end": '"|$',
            "patterns": [
                _match(r'\\["\\nt]', "constant.character.escape"),
                _match(r"\\.", "invalid.illegal.escape"),
                _match(r"\{[a-z_]+\}", "constant.other.placeholder"),
            ],
        },
        "number": {
            "patterns": [
                _match(
                    rf"({_NUMBER}){_GAP}({_either(known.units)})(?![\w.(/]){_NO_SETTING}",
                    "constant.numeric", "keyword.other.unit",
                ),
                _match(rf"({_NUMBER})(%)?", "constant.numeric", "keyword.other.unit"),
            ]
        },
        "constant": _match(rf"\b({_either(CONSTANTS)})\b", "constant.language"),
        "group": {
            "patterns": [
                _region(r"(\()", (_PARENS,), r"\)", _PARENS, "group_inside"),
                _region(r"(\[)", (_BRACKETS,), r"\]", _BRACKETS, "group_inside"),
            ]
        },
        "group_inside": _group("comment", "label", "call", "choice", "value"),
        "name": _match(rf"\b(?!{_either(WORD_OPERATORS)}\b)({_PATH})", "variable.other"),
        "operator": {
            "patterns": [
                _match(rf"\b({_either(WORD_OPERATORS)})\b", "keyword.operator.logical"),
                _match(r"(==|!=|<=|>=|<|>)", "keyword.operator.comparison"),
                _match(r"(\*\*|//|[-+*/%])", "keyword.operator.arithmetic"),
                _match("(=)", "keyword.operator.assignment"),
                _match("(:)", _COLON),
            ]
        },
        "comma": _match("(,)", "punctuation.separator.comma"),
        "invalid": _match(r"(\S)", "invalid.illegal"),
    }  # fmt: skip


def rendered() -> str:
    """The grammar as the extension ships it."""
    return json.dumps(grammar(), indent=2) + "\n"


if __name__ == "__main__":
    SHIPPED.write_text(rendered(), encoding="utf-8")
