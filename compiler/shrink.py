"""A small spec of the same structure: what `dskc verify` runs in the place of the real one.

Whole numbers of the model, its vocabulary and its sequence are halved as long as the spec still compiles, every block
keeps its ops, and the layout divides; repeats keep two iterations, or one for each stage of the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from math import gcd
from typing import Final

from ..dsl import ast
from ..dsl.diagnostics import Sink
from ..dsl.parse import parse
from ..dsl.schema.parallel import Parallel
from ..dsl.schema.training import Training
from ..dsl.source import Source, Span
from ..dsl.spec import Spec
from .build import Checked, check, settled
from .dims import Dim, substitute
from .layout import Layout, layout_of
from .lower import Lowered
from .lower.parameters import total

WORLD: Final = 8
"""Most ranks that are run."""
SMALL: Final = 16
"""No size is made smaller than this: a norm over a handful of values magnifies every rounding error."""
STEPS: Final = 10
RATE: Final = 1e-3
"""Largest learning rate: losses of a run that diverges tell nothing about gradients."""

# Settings of the small run. One process and several have to compute the same in fp32, on data that need no files.
SETTINGS: Final = (
    "data.source=random()", "data.tokenizer=none", "data.validation=0", "data.augment=none", "data.shuffle=true",
    "data.packing=stream", "training.evaluate=none", "schedule.warmup=10%",
    f"training.steps={STEPS}", "training.epochs=none", "training.tokens=none", "training.execution=eager",
    "precision.compute=fp32", "checkpoint.every=none", "checkpoint.recover_within=none", "cluster.mtbf=none",
    "observe.sample=none", "observe.tensorboard=false", "observe.progress=false", "observe.log_every=1",
    "model.weights=none", "parallel.elastic=none", "export.safetensors=none", "export.huggingface=none",
)  # fmt: skip


@dataclass(frozen=True)
class Number:
    """A whole number of the spec: where it stands in the text, or the setting that holds it."""

    name: str
    value: int
    span: Span | None = None

    def at(self, value: int) -> Number:
        """The same place with another number."""
        return replace(self, value=value)


@dataclass(frozen=True)
class Small:
    """The small spec, as text and flags, and what became smaller: (name or place, from, to)."""

    source: Source
    profile: str | None
    settings: tuple[str, ...]
    layout: Layout
    changed: tuple[tuple[str, int, int], ...]


def shrink(source: Source, profile: str | None, overrides: Sequence[str], asked: Checked | None = None) -> Small | Sink:
    """The smallest spec found that keeps the structure; the findings where the spec itself does not compile.

    `asked` is what was found when the spec was checked, with a layout for every `auto`.
    """
    asked = asked or settled(check(source, profile, overrides))
    if asked.spec is None or asked.lowered is None:
        return asked.sink
    layout = smaller(layout_of(asked.spec))
    batch = _batch(asked.spec, asked.lowered, layout)
    settings = (*overrides, *_kept(asked.spec), *batch)
    flags = _layout_flags(layout)
    search = _Search(source, profile, merged(settings, flags), layout, asked.spec, asked.lowered)
    first = search.compiled(search.numbers)
    if isinstance(first, Sink):
        return first
    search.run()
    return Small(
        search.text(search.numbers),
        profile,
        merged(settings, flags, _settings(search.numbers)),
        layout,
        tuple((a.name, a.value, b.value) for a, b in zip(search.first, search.numbers, strict=True) if a != b),
    )


SAMPLES: Final = 32
"""Fewest values of a variance of a batch norm: its gradient is the small rest of large terms where there are few."""


def one_process(spec: Spec) -> Spec:
    """The same run in one process, whose micro-batch is that of all ranks together."""
    ranks = layout_of(spec).data
    training = Training(**vars(spec.training) | {"micro_batch_size": spec.training.micro_batch_size * ranks})
    return replace(spec, parallel=Parallel(gpu_per_node=1, data_parallel=1), training=training)


def smaller(layout: Layout) -> Layout:
    """The layout on at most `WORLD` ranks: the largest axis is halved, or cut to its next divisor; none goes to 1."""
    while layout.world > WORLD:
        largest = max(layout.data, layout.pipeline, layout.tensor)
        smaller = max((each for each in range(2, largest) if largest % each == 0), default=2)
        if layout.data == largest:
            shared = gcd(layout.expert, smaller)  # the experts stay on several ranks
            layout = replace(layout, data=smaller, expert=smaller if shared == 1 < layout.expert else shared)
        elif layout.pipeline == largest:
            layout = replace(layout, pipeline=smaller)
        else:
            layout = replace(layout, tensor=smaller)
    return replace(layout, gpu_per_node=layout.world)


def _layout_flags(layout: Layout) -> tuple[str, ...]:
    return (
        f"parallel.world_size={layout.world}",
        f"parallel.gpu_per_node={layout.world}",
        f"parallel.data_parallel={layout.data}",
        f"parallel.pipeline_depth={layout.pipeline}",
        f"parallel.tensor_model_parallel={layout.tensor}",
        f"parallel.expert_parallel={layout.expert}",
        f"parallel.shard={layout.shard}",
        *([f"parallel.schedule={layout.schedule_text}"] if layout.pipeline > 1 else []),
        f"parallel.sequence_parallel={str(layout.sequence_parallel).lower()}",
        "parallel.context_parallel=1",
        "cluster.nodes=auto",
    )


def merged(*flags: Iterable[str]) -> tuple[str, ...]:
    """All flags, of those of one setting the last."""
    return tuple({flag.partition("=")[0]: flag for each in flags for flag in each}.values())


def _batch(spec: Spec, lowered: Lowered, layout: Layout) -> tuple[str, ...]:
    """Two samples per rank, more for batch norms; several micro-batches stay several, and fill the pipeline."""
    parts = 1 if spec.training.gradient_accumulation == 1 and layout.pipeline == 1 else 2 * layout.pipeline
    samples = 8 if any(_batch_norms(lowered)) else 2
    return (f"training.micro_batch_size={samples}", f"training.gradient_accumulation={parts}")


def _batch_norms(lowered: Lowered) -> Iterator[int]:
    """For each batch norm how many values it takes a variance of."""
    for body in lowered.bodies.values():
        for node in body.nodes:
            if node.op == "batch_norm":
                elements = substitute(node.outputs[0].elements, lowered.sizes)
                channels = node.outputs[0].shape[1]
                yield elements // channels if isinstance(elements, int) and isinstance(channels, int) else SAMPLES


def _kept(spec: Spec) -> list[str]:
    """The settings of the small run; sizes that followed from the data are now written."""
    found = [*SETTINGS, f"optimizer.lr={min(spec.optimizer.lr, RATE)!r}"]
    for name in ("vocab", "classes", "sequence"):
        value = getattr(spec.data, name)
        if value is not None:
            found.append(f"data.{name}={value}")
    return found


def _settings(numbers: Sequence[Number]) -> Iterator[str]:
    for number in numbers:
        if number.span is None:
            yield f"{number.name}={number.value}"


class _Search:
    """Tries smaller numbers, all together and then one after the other."""

    def __init__(
        self, source: Source, profile: str | None, flags: Sequence[str], layout: Layout, spec: Spec, lowered: Lowered
    ) -> None:
        self.source, self.profile, self.flags, self.layout = source, profile, tuple(flags), layout
        self.structure = structure(lowered)
        self.numbers = self.first = list(_numbers(source, spec))
        self.size, self.counts, self.dims = _size(lowered), _counts(lowered), _dims(lowered)
        self.sink, self.fixed = Sink(), set[str]()

    def run(self) -> None:
        """Halves until nothing can be halved any more."""
        for index in self._counting():
            self._repeat(index)
        self.fixed = {number.name for index, number in enumerate(self.numbers) if self._no_size(index)}
        if not self._try([self._smallest(number) for number in self.numbers]):  # one trial, where it does
            while self._try([self._halved(number) for number in self.numbers]):
                pass
        for index in range(len(self.numbers)):
            while self._try(self._with(index, self._halved(self.numbers[index]))):
                pass

    def _counting(self) -> list[int]:
        """The numbers that may count iterations: those equal to a count, all where a count is made of several."""
        counts = {count for count in self.counts if count > 1}
        plain = counts <= {number.value for number in self.numbers}
        return [index for index, number in enumerate(self.numbers) if number.value in counts or (counts and not plain)]

    def _repeat(self, index: int) -> None:
        """Where a number counts iterations, the fewest that the layout needs."""
        count = max(2, self.layout.stages)
        if self.numbers[index].value > count:
            self._try(self._with(index, self.numbers[index].at(count)), repeats=True)

    def _no_size(self, index: int) -> bool:
        """Whether a number is none of a size, such as the base of rotary embeddings."""
        if self.numbers[index].value in self.dims:
            return False
        half = self._halved(self.numbers[index])
        found = self.compiled(self._with(index, half)) if half != self.numbers[index] else self.sink
        return not isinstance(found, Sink) and _size(found) == self.size

    def _with(self, index: int, number: Number) -> list[Number]:
        return [*self.numbers[:index], number, *self.numbers[index + 1 :]]

    def _halved(self, number: Number) -> Number:
        """Half of it; what the ranks of the tensor axis, or of the expert axis, can share evenly stays so."""
        if number.value < 2 * SMALL or number.name in self.fixed:
            return number
        unit = gcd(number.value, 2 * self.layout.tensor * self.layout.expert)
        return number.at(number.value // 2 // unit * unit)

    def _smallest(self, number: Number) -> Number:
        """Halved as often as it can be."""
        half = self._halved(number)
        return number if half == number else self._smallest(half)

    def _try(self, numbers: list[Number], repeats: bool = False) -> bool:
        """Takes the numbers if the spec compiles with them, has its structure and is smaller."""
        found = self.compiled(numbers) if numbers != self.numbers else self.sink
        if isinstance(found, Sink) or structure(found) != self.structure:
            return False
        if min(_batch_norms(found), default=SAMPLES) < SAMPLES:
            return False
        if _size(found) >= self.size or (repeats and _counts(found) == self.counts):
            return False
        self.numbers, self.size, self.counts = numbers, _size(found), _counts(found)
        return True

    def compiled(self, numbers: Sequence[Number]) -> Lowered | Sink:
        """The model with these numbers, or what is wrong with it."""
        checked = check(self.text(numbers), self.profile, merged(self.flags, _settings(numbers)), tried=True)
        return checked.lowered if checked.lowered is not None else checked.sink

    def text(self, numbers: Sequence[Number]) -> Source:
        """The spec with its numbers in place; lines stay where they are."""
        text = self.source.text
        for number in sorted((n for n in numbers if n.span is not None), key=lambda n: -n.span.start if n.span else 0):
            assert number.span is not None
            text = text[: number.span.start] + str(number.value) + text[number.span.end :]
        return Source(self.source.name, text)


def structure(lowered: Lowered) -> list[tuple[object, ...]]:
    """What has to stay as it is: the ops of every body, in their order."""
    return [
        (name, node.name, node.op, node.label, node.body, node.count > 1, len(node.inputs))
        for name, body in lowered.bodies.items()
        for node in body.nodes
    ]


def _counts(lowered: Lowered) -> list[int]:
    return [node.count for body in lowered.bodies.values() for node in body.nodes]


def _dims(lowered: Lowered) -> set[Dim]:
    """The sizes that tensors have."""
    tensors = [each for body in lowered.bodies.values() for node in body.nodes for each in node.outputs]
    return {substitute(dim, lowered.sizes) for each in tensors for dim in each.shape}


def _size(lowered: Lowered) -> int:
    """Values of parameters and of tensors, each body counted once."""
    tensors = [each for body in lowered.bodies.values() for node in body.nodes for each in node.outputs]
    found = [substitute(each.elements, lowered.sizes) for each in tensors]
    return total(lowered.bodies, lowered.sizes) + sum(each for each in found if isinstance(each, int))


def _numbers(source: Source, spec: Spec) -> Iterator[Number]:
    """The whole numbers that may become smaller: settings of the model and of the data, and those in its blocks."""
    for name in ("vocab", "sequence", "classes"):
        value = getattr(spec.data, name)
        if value is not None:
            yield Number(f"data.{name}", value)
    for statement in parse(source, Sink()).body:
        if isinstance(statement, ast.Section) and statement.name == "model":
            for each in statement.body:
                yield from _in_model(each, spec)
        elif isinstance(statement, ast.Block):
            yield from _literals(statement)


def _in_model(statement: ast.Statement, spec: Spec) -> Iterator[Number]:
    if isinstance(statement, ast.Setting):
        name = statement.path[0]
        value = spec.constants.get(name)
        if isinstance(statement.value, ast.Number) and type(value) is int:
            yield Number(f"model.{name}", value)
    elif isinstance(statement, ast.Block):
        yield from _literals(statement)


def _literals(node: object) -> Iterator[Number]:
    """Whole numbers inside a block; line and column tell them apart."""
    if isinstance(node, ast.Number):
        if type(node.value) is int and node.unit is None:
            yield Number(f"{node.span.line}:{node.span.column}", node.value, node.span)
    elif isinstance(node, tuple):
        for item in node:
            yield from _literals(item)
    elif is_dataclass(node) and not isinstance(node, Span):
        for each in fields(node):
            yield from _literals(getattr(node, each.name))
