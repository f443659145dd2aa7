"""`train.py`: every setting becomes a constant, a line, or its absence."""

from __future__ import annotations

from collections.abc import Sequence

from ...dsl.schema.observe import Sample
from ...dsl.schema.optimizer import AdamW, Norm, Sgd
from ...dsl.schema.schedule import Constant, Cosine, Linear
from ...dsl.schema.training import Every
from ...dsl.spec import Spec
from ..dims import symbol
from ..layout import Layout
from ..lower.inputs import targets
from ..node import Body
from ..plan import Plan
from ..recovery import Recovery
from . import pipeline, step
from .constants import Constants, Length
from .counts import perplexities
from .data import DataText, data_text
from .guard import Guard, guard
from .huggingface import Checkpoint, constant
from .layout import bracketed, indented
from .model import bodies_of, class_names, millions, predicted_value, scalars
from .saves import Saves, saves
from .text import comment, literal, quoted
from .times import times
from .tree import Owned, after_steps, decaying, owned
from .views import TrainView

ALWAYS = ("checkpoint", "console", "device", "errors", "guard", "health", "optimizer", "record", "schedule")
HOME = "Path(__file__).parent"


def train_view(
    spec: Spec,
    plan: Plan,
    recovery: Recovery,
    spec_file: str,
    plan_hash: str,
    runtime: str,
    interchange: Checkpoint | None = None,
    home: str = HOME,
) -> TrainView:
    """Everything `train.py` says."""
    bodies = bodies_of(plan)
    forward = bodies["forward"]
    parameters = list(owned(bodies, (forward,)))
    model = class_names(plan, list(bodies))["forward"]
    size = f"{millions(sum(scalars(each, plan.layout) for each in parameters))} parameters"
    constants = Constants(spec)
    constants.rows["PLAN"] = [f"PLAN = {quoted(plan_hash)}  # sha256 of plan.json"]
    constants.rows["HERE"] = [f"HERE = {home}"]
    constants.add("SEED", spec.training.seed, "training.seed")
    layout = plan.layout
    length = Length(constants, layout.data)
    data = data_text(spec, constants, forward)
    constants.add("MICRO_BATCH", spec.training.micro_batch_size, "training.micro_batch_size")
    if spec.training.gradient_accumulation > 1 or plan.stages:
        constants.add("ACCUMULATION", spec.training.gradient_accumulation, "training.gradient_accumulation")
    steps = length.resolve()
    optimizer = _optimizer(spec, constants, parameters)
    rate = _rate(spec, constants, length, steps)
    norm = _norm(spec, constants, layout)
    evaluate_when = _evaluate_when(spec, length)
    functions = after_steps(bodies)
    buffers = any(not each.parameter.trained for each in parameters)
    guarding = guard(spec, constants, layout, _after_step(functions, layout), buffers)
    saving = saves(spec, constants, length, layout, recovery, guarding.saved)
    record = _record(spec, plan, constants, length, steps, data, saving.entered)
    sample = _sample(spec, plan, forward, constants)
    validates = spec.data.validation > 0
    counts = bool(plan.counts.masks)
    validation = _validation(spec, plan, constants, counts) if validates else ()
    modules = {*ALWAYS, *data.modules, *(("evaluate",) if validates else ()), *(("layers",) if functions else ())}
    modules |= {"generate"} if sample else set()
    modules |= {"initialize"} if layout.world > 1 else {"recovery"}
    modules |= set(saving.modules) - {"time"} | set(guarding.modules)
    modules |= {"totals"} if counts else set()
    modules |= {"pipeline"} if plan.stages else set()
    loading, writing = _interchange(spec, interchange, constants, data, layout)
    modules |= {"huggingface"} if interchange else set()
    modules |= {"export"} if spec.export.safetensors is not None else set()
    watching = _watch(spec, constants)
    if layout.world == 1:
        constants.rows["TIMES"] = times(spec, recovery)
    return TrainView(
        title=f"Trains `{comment(plan.name)}`. Written by dskc from {spec_file}; yours to edit.",
        usage=step.usage(layout),
        model="list[nn.Module]" if plan.stages else model,
        doc=data.doc,
        imports=_imports(spec, runtime, modules, model, parameters, length, saving, validates, layout, counts),
        constants=tuple(constants.lines()),
        data=data.lines,
        data_type=data.type,
        load=step.load(data.loaded, layout),
        derived=tuple(length.derived),
        optimizer=optimizer,
        rate=rate,
        steps=steps,
        setup=step.setup(spec, layout),
        build=(*(pipeline.build(spec, layout) if plan.stages else step.build(layout, model)), *loading),
        objectives=_objectives(spec, f"{comment(plan.name)}, {size}", bool(plan.stages)),
        compute=pipeline.compute(layout, counts) if plan.stages else step.compute(spec, layout, counts),
        guard=guarding,
        watch=watching,
        passing=_passing(spec, length),
        logged=_logged(guarding),
        norm=norm,
        validates=validates,
        validated=("running", "pipeline.Pipeline") if plan.stages else ("model", model),
        validation_type=data.kind,
        validation=validation,
        evaluate_when=evaluate_when,
        saves=saving,
        record=record,
        sample=sample,
        finish=(*writing, *(("write_sample(model, coder)",) if sample else ())),
    )


def _watch(spec: Spec, constants: Constants) -> str:
    """What `health.watch` takes."""
    arguments = [
        "flags.run",
        "TIMES",
        f"attempts={constants.add('ATTEMPTS', spec.checkpoint.attempts, 'checkpoint.attempts')}",
    ]
    if spec.checkpoint.skip_failing is not None:
        name = constants.add("SKIP_FAILING", spec.checkpoint.skip_failing, "checkpoint.skip_failing")
        arguments.append(f"skip_failing={name}")
    return ", ".join(arguments)


def _logged(guarding: Guard) -> str:
    """What `log.step` takes."""
    known = ["position.step", 'values["loss"]', "rate", 'values["gradient_norm"]']
    return ", ".join([*known, *([guarding.logged] if guarding.logged else [])])


def _passing(spec: Spec, length: Length) -> tuple[str, ...]:
    """Passes over the samples of a step that fails again and again."""
    return () if spec.checkpoint.skip_failing is None else (f"health.pass_over(position, {length.per_step()})",)


def _imports(
    spec: Spec, runtime: str, modules: set[str], model: str, parameters: list[Owned],
    length: Length, saving: Saves, validates: bool, layout: Layout, counts: bool,
) -> tuple[tuple[str, ...], ...]:  # fmt: skip
    limited = validates and spec.training.evaluate is not None and spec.training.evaluate.batches is not None
    standard = ["argparse", *(["itertools"] if limited else []), *(["math"] if _uses_math(length) else [])]
    standard += ["time"] if "time" in saving.modules else []
    names = [model] if layout.pipeline == 1 else ["INITIAL", "STAGES"]
    names = names if decaying(parameters) is None else ["DECAYING", *names]
    names += ["counts"] if counts else []
    ours = bracketed(f"from {runtime} import ", [", ".join(sorted(modules))], "")
    if len(ours) > 1 or len(ours[0]) > 100:
        ours = [f"from {runtime} import (", *(f"    {name}," for name in sorted(modules)), ")"]
    first = [*(f"import {name}" for name in standard), "from pathlib import Path"]
    own = [f"from model import {', '.join(names)}"]
    if layout.world > 1:
        axes = ["DATA"] if layout.data > 1 else []
        staged = layout.pipeline > 1
        names = [*axes, *(["EDGES"] if staged else []), "LAYOUT", "MESH"]
        names += ["OBJECTIVES", "SCHEDULE", "TIMES", "wrap"] if staged else ["TIMES", "wrap"]
        own.append(f"from parallel import {', '.join(names)}")
    modules_of_torch = ("from torch import nn",) if layout.pipeline > 1 else ()
    if "." in runtime:
        return tuple(first), ("import torch", *ours, *modules_of_torch), tuple(own)
    return tuple(first), ("import torch", *modules_of_torch), (*ours, *own)


def _uses_math(length: Length) -> bool:
    return any("math." in line for line in length.derived)


def _after_step(functions: Sequence[str], layout: Layout) -> tuple[str, ...]:
    """Calls with the model; with each of this rank's stages where it is cut."""
    data = ", DATA" if layout.data > 1 else ""
    if layout.pipeline == 1 or not functions:
        return tuple(f"layers.{name}(model{data})" for name in functions)
    return "for stage in model:", *(f"    layers.{name}(stage{data})" for name in functions)


def _objectives(spec: Spec, about: str, staged: bool) -> tuple[str, ...]:
    """How the step runs, and the line that says so."""
    said = f'console.LINE.note(f"{about} on {{device.describe(place)}}, '
    if staged:
        return ("# Stages are not compiled: the schedule takes their graphs apart.", f'{said}eager")')
    if spec.training.execution == "eager":
        return ("objectives = model.objectives", f'{said}eager")')
    if spec.training.execution == "compiled":
        return ("objectives = torch.compile(model.objectives)", f'{said}compiled")')
    how = 'how = "eager" if device.missing_compiler(place) else "compiled"'
    return ("objectives = device.compiled(model.objectives, place)", how, f'{said}{{how}}")')


def _optimizer(spec: Spec, constants: Constants, parameters: list[Owned]) -> tuple[str, ...]:
    settings = spec.optimizer
    rate = constants.add("LEARNING_RATE", settings.lr, "optimizer.lr")
    arguments = ["model", f"lr={rate}"]
    if isinstance(settings, AdamW):
        kind = "adamw"
        arguments.append(f"betas={constants.add('BETAS', settings.betas, 'optimizer.betas')}")
        arguments.append(f"eps={constants.add('EPSILON', settings.eps, 'optimizer.eps')}")
    else:
        assert isinstance(settings, Sgd)
        kind = "sgd"
        arguments.append(f"momentum={constants.add('MOMENTUM', settings.momentum, 'optimizer.momentum')}")
        if settings.nesterov:
            arguments.append("nesterov=True")
    decay = constants.add("WEIGHT_DECAY", settings.weight_decay, "optimizer.weight_decay")
    arguments.append(f"weight_decay={decay}")
    if decaying(parameters) is not None:
        arguments.append("decay=DECAYING")
    return tuple(bracketed(f"return optimizer.{kind}(", arguments, ")", 4))


def _rate(spec: Spec, constants: Constants, length: Length, steps: str) -> str:
    warmup = length.duration("WARMUP", spec.schedule.warmup, "schedule.warmup")
    decay = spec.schedule.decay
    if isinstance(decay, Constant):
        return f"LEARNING_RATE * schedule.constant(position.step, {warmup})"
    assert isinstance(decay, Cosine | Linear)
    floor = constants.add("FLOOR", decay.floor, "schedule.decay")
    return f"LEARNING_RATE * schedule.{decay.kind}(position.step, {steps}, {warmup}, {floor})"


def _norm(spec: Spec, constants: Constants, layout: Layout) -> str:
    arguments = ["model"]
    if isinstance(spec.optimizer.clip, Norm):
        arguments.append(constants.add("CLIP", spec.optimizer.clip.max, "optimizer.clip"))
    if layout.world > 1:
        arguments.append("LAYOUT" if len(arguments) > 1 else "layout=LAYOUT")
    return f"optimizer.clip_norm({', '.join(arguments)})"


def _evaluate_when(spec: Spec, length: Length) -> str:
    every = spec.training.evaluate
    if not isinstance(every, Every) or not spec.data.validation:
        return "position.step == last"
    interval = length.interval("EVALUATE_EVERY", every.interval, "training.evaluate")
    return f"position.step % {interval} == 0 or position.step == last"


def _validation(spec: Spec, plan: Plan, constants: Constants, counts: bool) -> tuple[str, ...]:
    """The body of `validate`."""
    every, layout = spec.training.evaluate, plan.layout
    one = layout.data == 1 and layout.pipeline == 1
    axis = "DATA" if layout.data > 1 else 'MESH.axis("data")'
    batches = "validation.in_order(MICRO_BATCH)" if one else f"validation.in_blocks(MICRO_BATCH, {axis})"
    if isinstance(every, Every) and every.batches is not None:
        batches = (
            f"itertools.islice({batches}, {constants.add('VALIDATION_BATCHES', every.batches, 'training.evaluate')})"
        )
    arguments = ["model", "model.objectives"] if layout.pipeline == 1 else ["running.stages", "running.objectives"]
    mean = "mean" if one else "mean_over_ranks"
    arguments += [batches] if one else [batches, "LAYOUT"]
    arguments += ["counted"] if counts else []
    arguments += [f"geometric={literal(names)}"] if (names := perplexities(plan)) else []
    before = ["counts", batches] if one else ["counts", batches, "LAYOUT"]
    counted = bracketed(f"counted = evaluate.counted{'' if one else '_over_ranks'}(", before, ")", 4) if counts else []
    bf16 = spec.precision.compute == "bf16" and layout.pipeline == 1
    lines = bracketed(f"return evaluate.{mean}(", arguments, ")", 8 if bf16 else 4)
    return *counted, *(lines if layout.pipeline > 1 else step.precise(spec, lines, "validation.device.type"))


def _record(
    spec: Spec, plan: Plan, constants: Constants, length: Length, steps: str, data: DataText, entered: bool
) -> tuple[str, ...]:
    tokens = data.kind == "packing.Tokens"
    per_step = length.per_step() + (" * SEQUENCE" if tokens else "")
    arguments = ["run", steps, per_step, quoted("tokens" if tokens else "samples")]
    arguments += ["start=position.step", f"title={quoted(plan.name)}"]
    if spec.observe.log_every > 1:
        arguments.append(f"every={constants.add('LOG_EVERY', spec.observe.log_every, 'observe.log_every')}")
    arguments += ["writes=MESH.first"] if plan.layout.world > 1 else []
    arguments += [f"{name}=False" for name in ("progress", "tensorboard") if not getattr(spec.observe, name)]
    if not entered:
        return tuple(bracketed("with record.Record(", arguments, ") as log:", 4))
    lines = bracketed("with record.Record(", arguments, ") as log, checkpoints:", 4)
    if len(lines) > 1:
        lines = ["with (", *indented([*bracketed("record.Record(", arguments, ") as log,", 8), "checkpoints,"]), "):"]
    return tuple(lines)


def _interchange(
    spec: Spec, found: Checkpoint | None, constants: Constants, data: DataText, layout: Layout
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines that load weights before training, and that write them after it."""
    loading: list[str] = []
    writing: list[str] = []
    if spec.export.safetensors is not None:
        file = constants.add("SAFETENSORS", spec.export.safetensors, "export.safetensors")
        writing.append(f"export.safetensors(model, run / {file}{'' if layout.world == 1 else ', LAYOUT'})")
    if found is None:
        return (), tuple(writing)
    constants.rows["CONFIG"] = constant(found.config)
    label = quoted(found.label)
    many = ["layout=LAYOUT"] if layout.world > 1 else []
    if spec.model.weights is not None:
        folder = constants.add("WEIGHTS", spec.model.weights.directory, "model.weights")
        loading = bracketed("huggingface.load(", ["model", folder, label, "CONFIG", *many], ")", 4)
    if spec.export.huggingface is not None:
        folder = constants.add("HUGGINGFACE", spec.export.huggingface, "export.huggingface")
        arguments = ["model", f"run / {folder}", label, "CONFIG", *(["coder"] if data.tokenizer else []), *many]
        writing += bracketed("huggingface.save(", arguments, ")", 4)
    return tuple(loading), tuple(writing)


def _sample(spec: Spec, plan: Plan, forward: Body, constants: Constants) -> tuple[str, ...]:
    settings = spec.observe.sample
    if not isinstance(settings, Sample) or is_cut(plan.layout) or not writes(plan, forward):
        return ()
    count = constants.add("SAMPLE_TOKENS", settings.tokens, "observe.sample")
    heat = constants.add("TEMPERATURE", settings.temperature, "observe.sample")
    prompt = "[coder.end]"
    if settings.prompt:
        prompt = f"coder.encode([{constants.add('PROMPT', settings.prompt, 'observe.sample')}])[0]"
    arguments = ["model", prompt, count, "SEQUENCE", "SEED", heat, "vocab=coder.vocab"]
    indent = 8 if spec.precision.compute == "bf16" else 4
    lines = bracketed("ids = generate.tokens(", arguments, ")", indent)
    if spec.precision.compute == "bf16":
        place = "place = next(model.parameters()).device"
        lines = [place, "with torch.autocast(place.type, torch.bfloat16):", *(f"    {line}" for line in lines)]
    if plan.layout.world > 1:
        return (*lines, "if MESH.first:", "    print(coder.decode(ids))")
    return (*lines, "print(coder.decode(ids))")


def is_cut(layout: Layout) -> bool:
    """Whether no rank has the logits of all tokens in the vocabulary: they are split, or on another stage."""
    return layout.tensor > 1 or layout.pipeline > 1


def writes(plan: Plan, forward: Body) -> bool:
    """Whether the model predicts the next token: from tokens [B, S] alone to logits [B, S, V]."""
    name, output = predicted_value(forward, plan.objectives)
    node = next(node for node in forward.nodes if node.name == name)
    left_out = targets(forward, (name, output))
    inputs = [n.outputs[0] for n in forward.nodes if n.op == "input" and n.name not in left_out]
    shape = node.outputs[output].shape
    sizes = (symbol("B"), symbol("S"))
    return (
        len(inputs) == 1
        and inputs[0].shape == sizes
        and inputs[0].kind == "int"
        and shape[:2] == sizes
        and len(shape) == 3
    )
