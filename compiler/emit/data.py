"""`load_data` of `train.py`: from the source to batches."""

from __future__ import annotations

from dataclasses import dataclass

from ...dsl.schema import data as schema
from ...dsl.schema.augment import RandomChange
from ...dsl.spec import Spec
from ..dims import substitute
from ..lower.inputs import classes, sizes
from ..node import Body, Tensor
from .constants import Constants
from .layout import assignment
from .text import literal, quoted

DOCUMENTS = ("text", "jsonl", "parquet")


@dataclass(frozen=True)
class DataText:
    """The function's lines, documentation and type, what its caller unpacks, and the runtime modules it needs."""

    lines: tuple[str, ...]
    doc: str
    type: str
    loaded: str
    kind: str
    modules: tuple[str, ...]
    tokenizer: bool


def data_text(spec: Spec, constants: Constants, forward: Body) -> DataText:
    """How this run's data are loaded."""
    source = spec.data.source
    if isinstance(source, schema.Text | schema.Jsonl | schema.Parquet):
        return _documents(spec, constants, source)
    if isinstance(source, schema.TokenFiles):
        return _token_files(spec, constants, source)
    if isinstance(source, schema.Digits):
        return _digits(spec, constants)
    assert isinstance(source, schema.Random)
    return _random(spec, constants, forward)


def data_seed(spec: Spec, constants: Constants) -> str:
    """The constant of the seed of split and order."""
    own = spec.data.seed
    return constants.add("DATA_SEED", own, "data.seed") if isinstance(own, int) and _written(spec) else "SEED"


def order(spec: Spec, seed: str) -> str:
    """The seed of the order in which samples are seen; without one they keep theirs."""
    return seed if spec.data.shuffle else "None"


def _written(spec: Spec) -> bool:
    return spec.span("data.seed") is not None


def _read(source: schema.Text | schema.Jsonl | schema.Parquet) -> str:
    if isinstance(source, schema.Jsonl):
        return f"sources.jsonl(SOURCE, field={quoted(source.field)})"
    if isinstance(source, schema.Parquet):
        return f"sources.parquet(SOURCE, column={quoted(source.column)})"
    return "sources.text(SOURCE)"


def _coder(spec: Spec, constants: Constants, documents: str) -> str:
    tokenizer = spec.data.tokenizer
    if isinstance(tokenizer, schema.Bpe):
        return f"tokenizer.train_bpe({documents}, vocab={constants.add('VOCAB', spec.data.vocab, 'data.tokenizer')})"
    if isinstance(tokenizer, schema.TokenizerFile):
        vocab = constants.add("VOCAB", spec.data.vocab, "data.vocab")
        path = constants.add("TOKENIZER", tokenizer.path, "data.tokenizer")
        return f"tokenizer.load({path}, vocab={vocab})"
    return "tokenizer.Bytes()"


def _documents(spec: Spec, constants: Constants, source: schema.Text | schema.Jsonl | schema.Parquet) -> DataText:
    constants.add("SOURCE", source.files, "data.source")
    sequence = constants.add("SEQUENCE", spec.data.sequence, "data.sequence")
    seed = data_seed(spec, constants)
    packed = f"coder, {sequence}, {order(spec, seed)}, place)"
    if not spec.data.validation:
        lines: tuple[str, ...] = (
            f"documents = {_read(source)}",
            f"coder = {_coder(spec, constants, 'documents')}",
            f"training = packing.pack(documents, {packed}",
            "return training, coder",
        )
        doc, kind, loaded = (
            "Rows of tokens, and the tokenizer.",
            "tuple[packing.Tokens, tokenizer.Tokenizer]",
            "training, coder",
        )
    else:
        share = constants.add("VALIDATION", spec.data.validation, "data.validation")
        lines = (
            f"documents = {_read(source)}",
            f"training_documents, held_out = sources.split(documents, {share}, {seed})",
            f"coder = {_coder(spec, constants, 'training_documents')}",
            f"training = packing.pack(training_documents, {packed}",
            f"validation = packing.pack(held_out, {packed}",
            "return training, validation, coder",
        )
        doc, loaded = (
            "Rows of tokens to train on and to validate with, and the tokenizer.",
            "training, validation, coder",
        )
        kind = "tuple[packing.Tokens, packing.Tokens, tokenizer.Tokenizer]"
    modules = ("packing", "sources", "tokenizer")
    return DataText(lines, doc, kind, loaded, "packing.Tokens", modules, True)


def _token_files(spec: Spec, constants: Constants, source: schema.TokenFiles) -> DataText:
    constants.add("SOURCE", source.files, "data.source")
    vocab = constants.add("VOCAB", spec.data.vocab, "data.vocab")
    sequence = constants.add("SEQUENCE", spec.data.sequence, "data.sequence")
    share = constants.add("VALIDATION", spec.data.validation, "data.validation")
    seed = order(spec, data_seed(spec, constants))
    arguments = ["SOURCE", vocab, sequence, share, seed, "place"]
    if isinstance(source.dtype, str):
        arguments.append(f"kind={quoted(source.dtype)}")
    call = f"packing.token_files({', '.join(arguments)})"
    if spec.data.validation:
        lines: tuple[str, ...] = (
            *assignment("training, validation = ", call, 4),
            "assert validation is not None",
            "return training, validation",
        )
        return DataText(
            lines, "Rows of tokens to train on and to validate with.", "tuple[packing.Tokens, packing.Tokens]",
            "training, validation", "packing.Tokens", ("packing",), False,
        )  # fmt: skip
    lines = (*assignment("training, _ = ", call, 4), "return training")
    return DataText(lines, "Rows of tokens.", "packing.Tokens", "training", "packing.Tokens", ("packing",), False)


def _digits(spec: Spec, constants: Constants) -> DataText:
    seed = data_seed(spec, constants)
    change = ""
    modules: tuple[str, ...] = ("arrays",)
    lines: list[str] = []
    if isinstance(spec.data.augment, RandomChange):
        policy = spec.data.augment
        constants.add("SHIFT", policy.shift, "data.augment")
        constants.add("ROTATE", policy.rotate, "data.augment")
        lines.append(f"change = augment.random({seed}, shift=SHIFT, rotate=ROTATE)")
        change, modules = ", change", ("arrays", "augment")
    if not spec.data.validation:
        lines.append(f"return arrays.digits({order(spec, seed)}, place{change})")
        return DataText(tuple(lines), "The samples.", "arrays.Arrays", "training", "arrays.Arrays", modules, False)
    share = constants.add("VALIDATION", spec.data.validation, "data.validation")
    lines.append(f"samples = arrays.digits({order(spec, seed)}, place{change})")
    lines.append(f"return samples.split({share}, {seed})")
    return DataText(
        tuple(lines), "Samples to train on, and those to validate with.", "tuple[arrays.Arrays, arrays.Arrays]",
        "training, validation", "arrays.Arrays", modules, False,
    )  # fmt: skip


def _random(spec: Spec, constants: Constants, forward: Body) -> DataText:
    samples = constants.add("SAMPLES", 4_096)
    rows = []
    for node in forward.nodes:
        if node.op == "input":
            rows.append(f"    {quoted(node.name)}: {_field(spec, node.outputs[0])},")
    made = f"arrays.Random(fields, {samples}, {data_seed(spec, constants)}, place)"
    lines = ("fields = {", *rows, "}", f"return {made}")
    return DataText(lines, "Random samples.", "arrays.Random", "training", "arrays.Random", ("arrays",), False)


def _field(spec: Spec, tensor: Tensor) -> str:
    """`arrays.Field((1, 8, 8))`: a sample's shape; for whole numbers how many different ones there are."""
    shape = tuple(substitute(dim, sizes(spec)) for dim in tensor.shape[1:])
    if tensor.kind != "int":
        return f"arrays.Field({literal(shape)})"
    return f"arrays.Field({literal(shape)}, classes={literal(classes(spec, tensor))})"
