"""The loops of a repeat: one, or one for each part of it that backward computes again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..node import Node, Recompute


def ran(module: str, arguments: Sequence[str], parts: Sequence[Recompute]) -> str:
    """The call of a module; where parts of it are recomputed, through `runtime.recompute`."""
    if not parts:
        return f"{module}({', '.join(arguments)})"
    return f"recompute.{parts[0].kind}({', '.join([module, *arguments])})"


def loops(node: Node, item: str, start: str, modules: str, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    """For each part of the iterations the head of its loop, "" without one, and the call in it.

    `item` and `start` are free names: of a module, and of where a segment of them starts.
    """
    for part in _parts(node):
        length = part.segment
        if length == 1:
            inside = modules + _slice(part.start, part.stop, node.count)
            yield f"for {item} in {inside}:", ran(item, values, (part,) if part in node.recompute else ())
        elif length == part.stop - part.start:
            yield "", f"recompute.segment({', '.join([modules + _slice(part.start, part.stop, node.count), *values])})"
        else:
            segment = f"{modules}[{start} : {start} + {length}]"
            head = f"for {start} in range({part.start}, {part.stop}, {length}):"
            yield head, f"recompute.segment({', '.join([segment, *values])})"


def _slice(start: int, stop: int, count: int) -> str:
    if (start, stop) == (0, count):
        return ""
    return f"[{start or ''}:{stop if stop < count else ''}]"


def _parts(node: Node) -> list[Recompute]:
    """All iterations in order; those that are not recomputed are no part of the node's own."""
    parts: list[Recompute] = []
    done = 0
    for each in node.recompute:
        if each.start > done:
            parts.append(Recompute("full", done, each.start))
        parts.append(each)
        done = each.stop
    return [*parts, Recompute("full", done, node.count)] if done < node.count else parts
