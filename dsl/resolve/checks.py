"""What has to agree between settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .. import ast
from ..schema.base import Record
from ..schema.cluster import GPUS
from ..schema.compression import Channels
from ..schema.data import Bpe, ByteTokens, Data, Digits, Random, TokenizerFile
from ..schema.observe import Alert, Sample
from ..schema.optimizer import DynamicBetas, Ramp
from ..source import Span
from ..suggest import nearest
from ..values import AUTO, Quantity
from .checks_parallel import PARALLEL_CHECKS
from .derive import TEXT_SOURCES, TOKEN_SOURCES, tokenizer_size
from .resolver import Resolver
from .view import Unsettled, View


def cross_check(run: Resolver) -> None:
    """Runs every check whose settings have values."""
    for check in (*CHECKS, *PARALLEL_CHECKS):
        try:
            check(View(run))
        except Unsettled:
            continue


def _length(view: View) -> None:
    """One of steps, epochs and tokens."""
    given = [name for name in ("steps", "epochs", "tokens") if view.get(f"training.{name}") is not None]
    if not given and not view.run.broken and "training" not in view.run.layered.misnamed:
        view.error("E0303", "training", "training has no length", "write `steps: ...`, `epochs: ...` or `tokens: ...`")
    for other in given[1:]:
        message = f"training has both `{given[0]}` and `{other}`"
        view.error("E0301", f"training.{other}", message, "keep one of them", f"training.{given[0]}")
    if "tokens" in given and not isinstance(view.get("data.source"), (*TOKEN_SOURCES, Random)):
        kind = view.kind("data.source")
        view.error(
            "E0301", "training.tokens", f"`{kind}` has samples, not tokens", "write `epochs: ...` or `steps: ...`"
        )


def _tokens(view: View) -> None:
    """A source of tokens needs to know how they are made, and how many there are."""
    source, kind = view.get("data.source"), view.kind("data.source")
    if isinstance(source, TEXT_SOURCES) and view.get("data.tokenizer") is None:
        view.error(
            "E0303", "data.source", f"`{kind}` needs a `tokenizer`", "write `tokenizer: bpe(vocab: 2_048)` or `bytes`"
        )
    elif isinstance(source, TOKEN_SOURCES) and view.get("data.vocab") is None:
        unread = isinstance(view.get("data.tokenizer"), TokenizerFile)
        message = (
            "the tokenizer's file cannot be read here" if unread else f"`{kind}` does not say how many tokens there are"
        )
        view.error("E0303", "data.tokenizer" if unread else "data.source", message, "set `data.vocab`")
    if isinstance(source, TOKEN_SOURCES) and view.get("data.sequence") is None:
        view.error("E0303", "data.source", f"`{kind}` needs `sequence`", "write `sequence: 256`, the tokens per sample")


def _vocabulary(view: View) -> None:
    size, vocab = tokenizer_size(view.get("data.tokenizer")), view.get("data.vocab")
    if isinstance(size, int) and isinstance(vocab, int) and vocab < size:
        message = f"`data.vocab` is {vocab:,}, but the tokenizer has {size:,} tokens"
        view.error("E0304", "data.vocab", message, "remove `vocab`: it follows from the tokenizer", "data.tokenizer")


def _no_effect(view: View) -> None:
    """Settings that this source of data cannot use."""
    source, kind = view.get("data.source"), view.kind("data.source")
    tokens = isinstance(source, (*TOKEN_SOURCES, Random))
    for name in ("tokenizer", "sequence", "vocab", "packing"):
        if not tokens and view.given(f"data.{name}"):
            view.error("E0307", f"data.{name}", f"`data.{name}` has no effect: `{kind}` gives no tokens", "remove it")
    if tokens and not isinstance(source, TEXT_SOURCES) and view.get("data.tokenizer") is not None:
        message = f"`data.tokenizer` has no effect: `{kind}` gives tokens, not text"
        view.error("E0307", "data.tokenizer", message, "remove it, and write `vocab: ...`")
    elif tokens and isinstance(view.get("observe.sample"), Sample) and view.get("data.tokenizer") is None:
        message = "`observe.sample` has no effect: without a tokenizer no text can be written"
        view.error("E0307", "observe.sample", message, "remove it", "data.source")
    if tokens and view.given("data.augment") and view.get("data.augment") is not None:
        view.error("E0307", "data.augment", f"`data.augment` has no effect: `{kind}` gives no images", "remove it")
    if not tokens and view.get("observe.sample") is not None:
        view.error("E0307", "observe.sample", f"`observe.sample` has no effect: `{kind}` gives no text", "remove it")
    if isinstance(source, Digits) and view.get("data.classes") != 10:
        view.error("E0304", "data.classes", "`digits` has 10 classes", "remove `classes`: it follows from the source")
    if isinstance(source, Random):
        _random(view)
    elif view.get("data.seed") != view.get("training.seed") and not (
        view.get("data.shuffle") or view.get("data.validation") or view.get("data.augment")
    ):
        message = "`data.seed` has no effect: there is neither shuffling nor a split"
        view.error("E0307", "data.seed", message, "remove it", "data.shuffle")


def _random(view: View) -> None:
    """Random samples have no documents, no order and no end."""
    for name, why in (("validation", "has no end"), ("shuffle", "has no order"), ("packing", "has no documents")):
        if view.given(f"data.{name}") and view.get(f"data.{name}") != getattr(Data, name):
            view.error("E0307", f"data.{name}", f"`data.{name}` has no effect: `random` {why}", "remove it")


def _evaluation(view: View) -> None:
    if view.get("training.evaluate") is not None and view.get("data.validation") == 0:
        remedy = "write `validation: 2%` in `data`"
        view.error("E0303", "training.evaluate", "there are no validation data to evaluate on", remedy)


def _warmup(view: View) -> None:
    warmup, steps = view.get("schedule.warmup"), view.get("training.steps")
    if not isinstance(warmup, Quantity):
        return
    if warmup.dimension == "share" and warmup.value >= 1:
        view.error("E0306", "schedule.warmup", f"warm-up is {warmup}, all of training", "take less, such as `5%`")
    if warmup.dimension == "steps" and isinstance(steps, int) and warmup.value >= steps:
        message = f"warm-up of {warmup.value:,} steps in a training of {steps:,}"
        view.error("E0306", "schedule.warmup", message, "take less, such as `5%`", "training.steps")


def _optimizer(view: View) -> None:
    run = view.run
    owner = run.layered.owner("optimizer").kind
    if owner == "sgd" and view.get("optimizer.nesterov") and view.get("optimizer.momentum") == 0:
        view.error(
            "E0307", "optimizer.nesterov", "`nesterov` has no effect without `momentum`", "write `momentum: 0.9`"
        )
    betas = view.get("optimizer.betas") if owner != "sgd" else None
    if isinstance(betas, DynamicBetas) and any(a > b for a, b in zip(betas.low, betas.high, strict=True)):
        message = f"low betas {betas.low} are above high betas {betas.high}"
        view.error("E0306", "optimizer.betas", message, "exchange them")


def _precision(view: View) -> None:
    compute = view.get("precision.compute")
    if view.given("precision.loss_scale") and view.get("precision.loss_scale") is not None and compute != "fp16":
        message = f"`loss_scale` has no effect: {compute} does not underflow"
        view.error("E0307", "precision.loss_scale", message, "remove it", "precision.compute")


def _checkpoint(view: View) -> None:
    if view.get("checkpoint.every") is AUTO and view.get("cluster.mtbf") is None:
        remedy = "write `mtbf: 6 h` in `cluster`, or an interval: `every: 100 steps`"
        view.error("E0303", "checkpoint.every", "`every: auto` follows from `cluster.mtbf`, which is not set", remedy)
    if view.given("cluster.mtbf") and view.get("cluster.mtbf") is not None and view.get("checkpoint.every") is None:
        message = "`cluster.mtbf` has no effect: nothing is saved before the end of training"
        view.advise("W0923", "cluster.mtbf", message, "write `every: auto` in `checkpoint`, or remove it")


def _gpu(view: View) -> None:
    gpu = view.get("cluster.gpu")
    if isinstance(gpu, str) and gpu not in GPUS:
        near = nearest(gpu, GPUS)
        remedy = f'the nearest is "{near}"' if near else f"presets are {', '.join(GPUS)}; or set `memory` and `peak`"
        view.error("E0204", "cluster.gpu", f'there is no preset "{gpu[:40]}"', remedy)


def _ranges(view: View) -> None:
    """Variants with a start and an end, lists that may not be empty, bounds that are given."""
    for path, value in view.settled():
        for record in _records(value):
            first, last = _span_of(record)
            if first >= last:
                message = f"`{record.kind}` ends at {last * 100:g}%, before it starts at {first * 100:g}%"
                view.error("E0306", path, message, "exchange them")
            if isinstance(record, Alert) and record.above is None and record.below is None:
                view.error("E0303", path, "an `alert` needs a bound", "write `above: ...` or `below: ...`")
            for name in ("groups", "stages", "widths"):
                if vars(record).get(name) == ():
                    view.error("E0303", path, f"`{record.kind}` has no {name}", f"name at least one of {name}")


def _span_of(record: Record) -> tuple[float, float]:
    if isinstance(record, Ramp):
        return record.start, record.end
    return (record.from_, record.until) if isinstance(record, Channels) else (0.0, 1.0)


def _records(value: object) -> list[Record]:
    """The variants in a value, nested ones as well."""
    if isinstance(value, tuple):
        return [record for item in value for record in _records(item)]
    if not isinstance(value, Record):
        return []
    return [value, *(record for item in vars(value).values() for record in _records(item))]


def check_unused(run: Resolver) -> None:
    """A constant of the model, or a size of the data, that nothing reads is a setting that would be ignored."""
    sizes = [name for name in ("data.classes", "data.vocab", "data.sequence") if run.given(name)]
    if run.broken or not (run.layered.constants or sizes):
        return
    read: set[str] = set()
    for unit in run.units:
        _names(unit.file.body, read)
    for name in sizes:
        if name not in read and not _feeds(run, name):
            message = f"`{name}` has no effect: the model does not read it"
            run.sink.error("E0307", message, run.place(name), f"remove it, or use `{name}` in the model")
    for name, entry in run.layered.constants.items():
        if name not in read:
            run.sink.warning(
                "W0901", f"constant `{name}` of the model is not used", entry.span, "remove it, or use it in a block"
            )


def _feeds(run: Resolver, name: str) -> bool:
    """Whether the data themselves depend on a size of theirs, so that the model need not name it."""
    source, tokenizer, forward = run.value("data.source"), run.value("data.tokenizer"), run.layered.forward
    if not isinstance(source, Random) or forward is None:
        follows = name == "data.vocab" and isinstance(source, TEXT_SOURCES) and isinstance(tokenizer, Bpe | ByteTokens)
        return not follows and not (name == "data.classes" and isinstance(source, TOKEN_SOURCES))
    types = [param.type for param in forward.params if isinstance(param.type, ast.TensorType)]
    if name == "data.sequence":
        return any("S" in dim.span.text for each in types for dim in each.dims)
    whole = {len(each.dims) == 1 for each in types if each.kind == "int"}
    other = "data.vocab" if name == "data.classes" else "data.classes"
    return (name == "data.classes") in whole or bool(whole and run.value(other) is None)


def _names(node: object, into: set[str]) -> None:
    """Collects every name in a tree, and its last word alone."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack += [part for part in item if not isinstance(part, _LEAVES)]
        elif isinstance(item, ast.Name):
            into.update((item.path[-1], ".".join(item.path)))
        else:
            stack += [part for part in vars(item).values() if not isinstance(part, _LEAVES)]


_LEAVES = (str, int, float, Span, type(None))


CHECKS: Final[tuple[Callable[[View], None], ...]] = (
    _length, _tokens, _vocabulary, _no_effect, _evaluation, _warmup, _optimizer, _precision, _checkpoint, _gpu, _ranges,
)  # fmt: skip
