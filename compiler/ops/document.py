"""The reference of ops as Markdown: `python -m dskc.compiler.ops.document > docs/ops.md`."""

from __future__ import annotations

import sys

from . import OPS
from .base import REQUIRED, Attribute, Op
from .common import shown

_TITLES = {"value": "Values", "loss": "Losses", "metric": "Metrics"}
_HEAD = """# Ops

The primitives of the language, written from the op table (`compiler/ops/`). Blocks of the library are built from them.
A tensor argument ending in `?` may be left out; `*xs` takes any number. Floating-point operations count contractions
only, a multiply-add as two, and causal attention only the pairs that are attended.
"""


def document() -> str:
    """The whole page."""
    parts = [_HEAD]
    for category, title in _TITLES.items():
        ops = sorted((op for op in OPS.values() if op.category == category), key=lambda op: op.name)
        parts += [f"## {title}\n", *map(_section, ops)]
    return "\n".join(parts)


def _section(op: Op) -> str:
    stand_ins = {name.strip("?") for name in op.tensors}
    named = [_signature(attribute) for attribute in op.attributes if attribute.name not in stand_ins]
    names = ", ".join([*op.tensors, *named])
    lines = [f"### {op.name}\n", f"`{op.name}({names})`\n", op.doc + "\n"]
    if op.attributes:
        lines += ["| argument | type | default | meaning |", "|---|---|---|---|", *map(_row, op.attributes), ""]
    if op.after_step:
        lines.append(f"After each optimizer step, the program calls `layers.{op.after_step}(model)`.\n")
    return "\n".join(lines)


def _signature(attribute: Attribute) -> str:
    return f"{attribute.name}:" if attribute.default is REQUIRED else f"{attribute.name}: {_default(attribute)}"


def _row(attribute: Attribute) -> str:
    default = "" if attribute.default is REQUIRED else f"`{_default(attribute)}`"
    return f"| `{attribute.name}` | {attribute.type} | {default} | {attribute.doc} |"


def _default(attribute: Attribute) -> str:
    return shown(attribute.default)


if __name__ == "__main__":
    sys.stdout.write(document())
