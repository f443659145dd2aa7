"""A model on the ranks of a pipeline equals it in one process, whatever the schedule.

The stages have what makes pipelines wrong: a value that skips a stage, a loss in an early one, a tower that starts in
a later one, and an embedding that is the head's matrix as well.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dskc.compiler import layout as compiled
from dskc.compiler.pipeline.schedule import order
from dskc.runtime import initialize, optimizer, pipeline, totals
from dskc.runtime.errors import RunError
from dskc.runtime.layout import Layout, named_parameters
from dskc.runtime.mesh import Mesh
from dskc.runtime.pipeline import Edge
from dskc.runtime.replicated import Replicated
from dskc.runtime.sharded import Sharded

from . import ranks

CPU = torch.device("cpu")
VOCAB, WIDTH, SAMPLES, LENGTH, PARTS = 11, 8, 4, 6, 8
COUNTED = SAMPLES * LENGTH  # targets of a micro-batch, over the data axis
NAMES = ("loss", "first_loss", "second_loss", "hits")
INITIAL = {"normal(0.5)": ("embedding.weight", "other.weight", "layers.*.weight")}
X, LOSS = Edge((SAMPLES, LENGTH, WIDTH)), Edge(())


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleDict({"0": nn.Linear(WIDTH, WIDTH, bias=False)})

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers["0"](self.embedding(tokens)).tanh()


class Second(nn.Module):
    """Hands the first value on, and has a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"1": nn.Linear(WIDTH, WIDTH, bias=False)})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.layers["1"](x).tanh()
        return x, y.transpose(0, 1).contiguous().transpose(0, 1), y.pow(2).sum() / COUNTED


class Third(nn.Module):
    """A tower that starts here, and meets the other in the next stage."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"2": nn.Linear(WIDTH, WIDTH, bias=False)})
        self.other = nn.Embedding(VOCAB, WIDTH)

    def forward(self, x: Tensor, y: Tensor, loss: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
        return x, self.layers["2"](y).tanh(), self.other(tokens), loss


class Fourth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleDict({"3": nn.Linear(WIDTH, WIDTH, bias=False)})

    def forward(self, x: Tensor, y: Tensor, other: Tensor, first: Tensor, targets: Tensor) -> dict[str, Tensor]:
        logits = F.linear(self.layers["3"](x + y).tanh() * other, self.embedding.weight)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / COUNTED
        hits = (logits.argmax(-1) == targets).sum() / COUNTED
        return {"loss": loss + 0.3 * first, "first_loss": first, "second_loss": loss, "hits": hits}


class FirstHalf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first, second = First(), Second()
        self.embedding, self.parts = first.embedding, (first, second)
        self.layers = nn.ModuleDict({**first.layers, **second.layers})

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.parts[1](self.parts[0](tokens))


class SecondHalf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        third, fourth = Third(), Fourth()
        self.embedding, self.other, self.parts = fourth.embedding, third.other, (third, fourth)
        self.layers = nn.ModuleDict({**third.layers, **fourth.layers})

    def forward(self, x: Tensor, y: Tensor, loss: Tensor, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return self.parts[1](*self.parts[0](x, y, loss, tokens), targets)


class Whole(nn.Module):
    """All of it in one process."""

    def __init__(self) -> None:
        super().__init__()
        first, second = self.halves = FirstHalf(), SecondHalf()
        self.embedding, self.other = first.embedding, second.other
        self.layers = nn.ModuleDict({**first.layers, **second.layers})
        second.parts[1].embedding = self.embedding

    def forward(self, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        first, second = self.halves
        return second(*first(tokens), tokens, targets)


FOUR = (First, Second, Third, Fourth)
EDGES = ((X,), (X, X, LOSS), (X, X, X, LOSS))


def batch(step: int, part: int, samples: int = SAMPLES) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(100 * step + part)
    tokens = torch.randint(VOCAB, (samples, LENGTH), generator=made)
    return {"tokens": tokens, "targets": torch.randint(VOCAB, (samples, LENGTH), generator=made)}


def block(fields: dict[str, Tensor], index: int, size: int) -> dict[str, Tensor]:
    return {name: field.chunk(size)[index] for name, field in fields.items()}


def trained(depth: int, stages: int, schedule: Any, data: int = 1, shard: str = "none", steps: int = 2) -> Any:
    """Losses, gradients of the first step, weights, an evaluation, and the order of the work."""
    mesh = Mesh(pipeline=depth, data=data)
    mesh.start(CPU)
    classes, edges = (FOUR, EDGES) if stages == 4 else ((FirstHalf, SecondHalf), EDGES[1:2])
    holders = (0, 0) if schedule == "zero_bubble_v" else (0, depth - 1)
    layout = Layout(mesh, tied={"embedding.weight": holders})
    parts = pipeline.build([partial(each) for each in classes], schedule, layout)
    gradients = Replicated(parts, layout) if shard == "none" else Sharded(parts, layout, shard)  # type: ignore[arg-type]
    initialize.initialize(parts, INITIAL, 3, layout)
    index = mesh.axis("data").index
    small = tuple(tuple(Edge((e.shape[0] // data, *e.shape[1:])) if e.shape else e for e in row) for row in edges)
    running = pipeline.Pipeline(parts, small, schedule, PARTS, layout, CPU, NAMES)
    updates = optimizer.adamw(parts, lr=0.05, weight_decay=0.1)
    losses, norms, first, seen = [], [], {}, watched(running)
    for step in range(steps):
        batches = [block(batch(step, part), index, data) for part in range(PARTS)]
        loss = running.step(batches)
        gradients.finish()
        if step == 0:
            first = {name: whole(p.grad) for name, p in named_parameters(parts)}
        norms.append(optimizer.clip_norm(parts, 0.5, layout).item())
        updates.step()
        updates.zero_grad()
        losses.append(totals.over_stages(loss, layout).item())
    found = running.objectives(**block(batch(9, 0, 2 * data), index, data))
    after = {name: totals.over_stages(value, layout).item() for name, value in found.items()}
    weights = {name: whole(p) for name, p in named_parameters(parts)}
    mesh.stop()
    return {"losses": losses, "norms": norms, "gradients": first, "weights": weights, "after": after, "order": seen}


def whole(value: Any) -> Tensor:
    return (value.full_tensor() if hasattr(value, "full_tensor") else value).detach().clone()


def watched(running: pipeline.Pipeline) -> list[tuple[str, int, int]]:
    """Forwards and backwards as they really happen."""
    seen: list[tuple[str, int, int]] = []
    for stage in running._stages:
        for name, word in (("forward_one_chunk", "forward"), ("backward_one_chunk", "backward")):
            setattr(stage, name, partial(_noted, seen, word, stage.stage_index, getattr(stage, name)))
    return seen


def _noted(seen: list[Any], word: str, stage: int, run: Any, micro: int, *rest: Any, **more: Any) -> Any:
    seen.append((word, stage, micro))
    return run(micro, *rest, **more)


@pytest.fixture(scope="module")
def one_process() -> dict[str, Any]:
    model = Whole()
    initialize.initialize([model], INITIAL, 3)
    updates = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1, foreach=False)
    losses, norms, first = [], [], {}
    for step in range(2):
        loss = sum(model(**batch(step, part))["loss"] for part in range(PARTS)) / PARTS
        loss.backward()
        if step == 0:
            first = {name: p.grad.clone() for name, p in model.named_parameters()}
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
        updates.step()
        updates.zero_grad()
        losses.append(loss.item())
    return {"losses": losses, "norms": norms, "gradients": first, "model": model}


CASES = [
    (2, 2, "one_f_one_b"), (2, 2, "gpipe"), (2, 2, "zero_bubble"), (2, 4, "interleaved"), (2, 4, "zero_bubble"),
    (2, 4, "zero_bubble_v"), (4, 4, "one_f_one_b"), (4, 4, "gpipe"), (4, 4, "zero_bubble"),
]  # fmt: skip


def compare(found: list[Any], want: dict[str, Any], data: int = 1) -> None:
    weights = dict(want["model"].named_parameters())
    fields = batch(9, 0, 2 * data)
    after = want["model"](**fields)
    seen = set()
    for rank in found:
        assert rank["losses"] == pytest.approx(want["losses"], rel=1e-5)
        assert rank["norms"] == pytest.approx(want["norms"], rel=1e-5)
        for name, gradient in rank["gradients"].items():
            torch.testing.assert_close(gradient, want["gradients"][name], rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(rank["weights"][name], weights[name].detach(), rtol=1e-4, atol=1e-6)
        seen |= set(rank["gradients"])
    assert seen == set(want["gradients"])
    if data == 1:
        assert found[0]["after"] == pytest.approx({name: after[name].item() for name in NAMES}, rel=1e-4)
        assert all(rank["after"] == found[0]["after"] for rank in found)


@pytest.mark.parametrize(("depth", "stages", "schedule"), CASES)
def test_gradients_and_losses(depth: int, stages: int, schedule: str, one_process: dict[str, Any]) -> None:
    found = ranks.run(trained, depth, depth, stages, schedule)

    compare(found, one_process)
    planned = {"schedule": schedule.removesuffix("_v"), "chunks": stages // depth}
    if planned != {"schedule": "zero_bubble", "chunks": 2} or schedule == "zero_bubble_v":
        for rank, ops in enumerate(order(compiled.Layout(pipeline=depth, **planned), PARTS)):
            work = [("forward" if op.kind == "forward" else "backward", op.stage, op.micro) for op in ops]
            expected = [op for op, kind in zip(work, ops, strict=True) if kind.kind != "weight"]
            assert found[rank]["order"][: len(expected)] == expected


@pytest.mark.parametrize(
    ("stages", "schedule", "shard"),
    [
        (2, "one_f_one_b", "none"),
        (2, "one_f_one_b", "optimizer"),
        (2, "one_f_one_b", "parameters"),
        (4, "interleaved", "none"),
        (4, "interleaved", "gradients"),
        (4, "interleaved", "parameters"),
        (2, "zero_bubble", "optimizer"),
        (4, "zero_bubble", "optimizer"),
    ],
)
def test_with_a_data_axis(stages: int, schedule: str, shard: str, one_process: dict[str, Any]) -> None:
    compare(ranks.run(trained, 4, 2, stages, schedule, 2, shard), one_process, data=2)


def wrong(edge: Edge) -> str:
    """What a rank of two says of an edge that is not what its stage makes."""
    mesh = Mesh(pipeline=2)
    mesh.start(CPU)
    layout = Layout(mesh)
    parts = pipeline.build([FirstHalf, SecondHalf], "one_f_one_b", layout)
    initialize.initialize(parts, INITIAL, 3, layout)
    running = pipeline.Pipeline(parts, ((X, edge, LOSS),), "one_f_one_b", 2, layout, CPU, NAMES)
    said = ""
    if mesh.axis("pipeline").index == 0:  # the other would wait for what never comes
        with pytest.raises(RunError) as found:
            running._stages[0].run((), {"tokens": batch(0, 0)["tokens"]})
        said = str(found.value)
    mesh.stop()
    return said


def test_a_stage_that_makes_something_else_is_told() -> None:
    half = ranks.run(wrong, 2, Edge(X.shape, torch.bfloat16))[0]
    wide = ranks.run(wrong, 2, Edge((SAMPLES, LENGTH, 9)))[0]

    assert half == "stage 0 makes [4, 6, 8] float32 as value 1, but [4, 6, 8] bfloat16 is what stage 1 expects"
    assert wide == "stage 0 makes [4, 6, 8] float32 as value 1, but [4, 6, 9] float32 is what stage 1 expects"


def test_what_cannot_run_is_refused() -> None:
    axis = Mesh(pipeline=2).axis("pipeline")

    with pytest.raises(RunError, match="without elements"):
        Edge((4, 0, 8))
    with pytest.raises(RunError, match="3 stages cannot run as interleaved on 2 ranks"):
        pipeline.indices(3, "interleaved", axis)
    with pytest.raises(RunError, match="4 stages cannot run as gpipe on 2 ranks"):
        pipeline.indices(4, "gpipe", axis)
