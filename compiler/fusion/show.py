"""Fusion groups as `dskc plan` tells of them, and as data."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..dims import Dim, substitute
from ..plan import Plan

UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
NOTE = "moved: by the ops one by one -> by kernels, in one micro-batch; torch.compile fuses part of it by itself."


def shown(plan: Plan) -> str:
    """A table of the groups, with what each saves over all of its calls."""
    times = runs(plan)
    head = ("fusion group", "in", "calls", "forward moved", "backward moved", "saved", "run by")
    rows: list[tuple[str, ...]] = [head]
    whole = 0
    for group in plan.groups:
        count = times[group.body]
        if not count:
            continue
        amounts = [[_number(plan, each) for each in pair] for pair in (group.forward, group.backward)]
        saved = count * sum(alone - fused for alone, fused in amounts)
        whole += saved
        pair = [f"{_size(alone)} -> {_size(fused)}" for alone, fused in amounts]
        name = f"{group.kind}: {', '.join(group.nodes)}"
        name = name if len(name) <= 48 else f"{name[:45]}..."
        rows.append((name, group.body, str(count), *pair, _size(saved), "kernel" if group.generated else "PyTorch"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], f"{_size(whole)} saved in all. {NOTE}"])


def groups_data(plan: Plan) -> list[dict[str, Any]]:
    """The generated groups as plain data."""
    return [
        {
            "body": group.body,
            "family": group.family,
            "kind": group.kind,
            "nodes": list(group.nodes),
            "outputs": [list(value) for value in group.outputs],
            "forward": [_number(plan, amount) for amount in group.forward],
            "backward": [_number(plan, amount) for amount in group.backward],
        }
        for group in plan.groups
        if group.generated
    ]


def runs(plan: Plan) -> Counter[str]:
    """How often each body runs in one forward pass of the model, or of all stages of its pipeline."""
    found: Counter[str] = Counter()

    def visit(body: str, count: int) -> None:
        found[body] += count
        for node in plan.nodes(body):
            if node.body is not None:
                visit(node.body, count * node.count)

    for root in dict.fromkeys(stage.body for stage in plan.stages) if plan.stages else ("forward",):
        visit(root, 1)
    return found


def _number(plan: Plan, amount: Dim) -> int:
    value = substitute(amount, plan.sizes)
    assert isinstance(value, int), f"a symbolic size is left over: {value}"
    return value


def _size(amount: int) -> str:
    for size, unit in UNITS:
        if abs(amount) >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} B"
