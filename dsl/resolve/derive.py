"""What follows from other settings where it is not set."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..evaluate import FAILED
from ..read import content
from ..schema.data import Bpe, ByteTokens, Datasets, Digits, Jsonl, Parquet, Text, TokenFiles, TokenizerFile
from ..schema.observe import Sample
from ..schema.precision import DynamicScale
from ..values import AUTO

if TYPE_CHECKING:
    from .resolver import Resolver

TEXT_SOURCES = (Text, Jsonl, Parquet, Datasets)
TOKEN_SOURCES = (*TEXT_SOURCES, TokenFiles)
AXES = ("pipeline_depth", "tensor_model_parallel", "context_parallel")
MAX_TOKENIZER_BYTES = 32 * 1024 * 1024


def tokenizer_size(tokenizer: object) -> int | None:
    """Number of tokens of a tokenizer, None where it cannot be read here."""
    if isinstance(tokenizer, Bpe):
        return tokenizer.vocab
    if isinstance(tokenizer, ByteTokens):
        return 256
    return _file_size(Path(tokenizer.path)) if isinstance(tokenizer, TokenizerFile) else None


def _file_size(path: Path) -> int | None:
    """Largest token number of a `tokenizer.json`, plus one."""
    try:
        found = content(path, MAX_TOKENIZER_BYTES + 1)
        if len(found) > MAX_TOKENIZER_BYTES:
            return None
        tokenizer = json.loads(found)
        vocabulary = tokenizer["model"]["vocab"]
        numbers = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
        numbers += [token["id"] for token in tokenizer.get("added_tokens") or ()]
        return int(max(numbers)) + 1
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _vocab(run: Resolver) -> object:
    tokenizer = run.value("data.tokenizer")
    return FAILED if tokenizer is FAILED else tokenizer_size(tokenizer)


def _classes(run: Resolver) -> object:
    source = run.value("data.source")
    return FAILED if source is FAILED else 10 if isinstance(source, Digits) else None


def _seed(run: Resolver) -> object:
    return run.value("training.seed")


def _loss_scale(run: Resolver) -> object:
    compute = run.value("precision.compute")
    return FAILED if compute is FAILED else DynamicScale() if compute == "fp16" else None


def _sample(run: Resolver) -> object:
    source, tokenizer = run.value("data.source"), run.value("data.tokenizer")
    if source is FAILED or tokenizer is FAILED:
        return FAILED
    return Sample() if isinstance(source, TOKEN_SOURCES) and tokenizer is not None else None


def _data_parallel(run: Resolver) -> object:
    world, axes = run.value("parallel.world_size"), [run.value(f"parallel.{axis}") for axis in AXES]
    if world is FAILED or any(axis is FAILED for axis in axes):
        return FAILED
    sizes = [axis for axis in axes if isinstance(axis, int)]
    fits = isinstance(world, int) and len(sizes) == len(axes) and world % prod(sizes) == 0
    return world // prod(sizes) if fits and isinstance(world, int) else AUTO


def _gpu_per_node(run: Resolver) -> object:
    world = run.value("parallel.world_size")
    return min(world, 8) if isinstance(world, int) else FAILED


DERIVED: Final[dict[str, Callable[[Resolver], object]]] = {
    "data.vocab": _vocab,
    "data.classes": _classes,
    "data.seed": _seed,
    "precision.loss_scale": _loss_scale,
    "observe.sample": _sample,
    "parallel.data_parallel": _data_parallel,
    "parallel.gpu_per_node": _gpu_per_node,
}
