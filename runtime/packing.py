"""Token streams cut into rows of S + 1: a memory-mapped file of documents, each closed by its end-of-text token.

Row `i` holds tokens i*S .. i*S+S, so every token but the very first is predicted exactly once.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import blocks, cache, console, order
from .errors import RunError
from .mesh import Axis
from .sources import Documents, find
from .tokenizer import Tokenizer

ENCODE_CHARACTERS = 4 << 20  # encoded at a time: enough for all cores, small in memory
Stream = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

# The 1024-byte header of llm.c and modded-nanogpt: a magic number, a version, the number of tokens.
HEADER = 1024
HEADER_TYPES: dict[int, np.dtype[np.uint16] | np.dtype[np.uint32]] = {
    20240520: np.dtype(np.uint16),
    20240801: np.dtype(np.uint32),
}


def token_type(vocab: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The smallest type that holds ids below `vocab`."""
    return np.dtype(np.uint16) if vocab <= 1 << 16 else np.dtype(np.uint32)


class Tokens:
    """Rows of a token stream. `batch` is a pure function of the seed and of the samples consumed before."""

    def __init__(
        self, parts: Sequence[Stream], sequence: int, seed: int | None, name: str, device: torch.device
    ) -> None:
        self.sequence = sequence
        self.seed = seed
        self.device = device
        self.tokens = sum(len(part) for part in parts)
        # Overlapping views, not copies: row i begins at token i * sequence.
        self._rows = [
            np.lib.stride_tricks.sliding_window_view(part, sequence + 1)[::sequence]
            for part in parts
            if len(part) > sequence
        ]
        self._ends = np.cumsum([len(rows) for rows in self._rows])
        if not self._rows:
            raise RunError(f"{name} has {self.tokens:,} tokens, fewer than one row of {sequence + 1:,}")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, first: int, size: int, data: Axis | None = None) -> dict[str, Tensor]:
        """Samples first..first+size-1 of the endless shuffled stream: tokens and targets, int64 [B, S].

        With an axis they are this rank's: each of its ranks takes the next `size` samples.
        """
        return self._take(order.sample_ids(blocks.first_of(first, size, data), size, len(self), self.seed)[1])

    def in_order(self, size: int) -> Iterator[dict[str, Tensor]]:
        """Every row once, in batches of `size`; the last may be smaller."""
        for start in range(0, len(self), size):
            yield self._take(np.arange(start, min(start + size, len(self))))

    def in_blocks(self, size: int, data: Axis) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Every row once over all ranks of an axis: how many they have together, and this rank's batch."""
        for samples, ids in blocks.in_order(len(self), size, data):
            yield samples, self._take(ids)

    def _take(self, ids: order.Ids) -> dict[str, Tensor]:
        if len(self._rows) == 1:
            rows = self._rows[0][ids]
        else:
            parts = np.searchsorted(self._ends, ids, side="right")
            starts = self._ends - [len(rows) for rows in self._rows]
            rows = np.stack([self._rows[part][i - starts[part]] for part, i in zip(parts, ids, strict=True)])
        chunk = torch.from_numpy(rows.astype(np.int64))
        if self.device.type == "cuda":  # pinned, so that the copy does not stop the host
            chunk = chunk.pin_memory().to(self.device, non_blocking=True)
        return {"tokens": chunk[:, :-1], "targets": chunk[:, 1:]}


def pack(documents: Documents, tokenizer: Tokenizer, sequence: int, seed: int | None, device: torch.device) -> Tokens:
    """The documents as rows of tokens, encoded once and kept in the cache folder; without a seed in their order."""
    kind = token_type(tokenizer.vocab)
    name = hashlib.sha256(f"{tokenizer.key} {tokenizer.end} {documents.key}".encode()).hexdigest()[:32]
    path = cache.folder() / f"tokens-{name}.{kind.name}"
    if not path.is_file():
        with cache.creating(path) as temporary:
            _encode(documents, tokenizer, temporary, kind)
    return Tokens([np.memmap(path, kind, "r")], sequence, seed, documents.source, device)


def _encode(documents: Documents, tokenizer: Tokenizer, path: Path, kind: np.dtype[np.uint16 | np.uint32]) -> None:
    """Writes each document's ids and the end-of-text id, showing progress."""
    done, tokens = 0, 0
    with path.open("wb") as file:
        for texts in _by_size(documents, ENCODE_CHARACTERS):
            lists = tokenizer.encode(texts)
            flat = itertools.chain.from_iterable(itertools.chain(ids, (tokenizer.end,)) for ids in lists)
            ids = np.fromiter(flat, kind)
            file.write(ids.data)
            done, tokens = done + len(texts), tokens + len(ids)
            if console.LINE.due():
                console.LINE.update(f"encoding {documents.source}: {done:,} of {len(documents):,} documents")
    console.LINE.replace(f"{documents.source}: {done:,} documents encoded as {tokens:,} tokens")


def _by_size(documents: Documents, characters: int) -> Iterator[list[str]]:
    """Batches of documents of about that many characters together."""
    batch: list[str] = []
    total = 0
    for text in documents:
        batch.append(text)
        total += len(text)
        if total >= characters:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def token_files(
    pattern: str,
    vocab: int,
    sequence: int,
    share: float,
    seed: int | None,
    device: torch.device,
    kind: str | None = None,
) -> tuple[Tokens, Tokens | None]:
    """Training and validation rows of files that hold token ids already: raw, or with llm.c's header.

    Raw files hold numbers of `kind`: uint16 where `vocab` is at most 65,536 and uint32 otherwise, if none is given.
    Of each file the last `share` is validation.
    """
    training, validation = [], []
    for path in find(pattern):
        stream = _open(path, vocab, kind)
        cut = len(stream) - round(len(stream) * share)
        training.append(stream[:cut])
        validation.append(stream[cut:])
    name = f"tokens({pattern!r})"
    held_out = Tokens(validation, sequence, seed, f"the validation share of {name}", device) if share else None
    return Tokens(training, sequence, seed, name, device), held_out


def _open(path: Path, vocab: int, given: str | None) -> Stream:
    """The ids of one file, all of them checked."""
    size = path.stat().st_size
    head = np.fromfile(path, np.int32, 3)
    kind: np.dtype[np.uint16] | np.dtype[np.uint32] = np.dtype(given) if given else token_type(vocab)
    start = 0
    if size >= HEADER and int(head[0]) in HEADER_TYPES:
        kind, start = HEADER_TYPES[int(head[0])], HEADER
        if size != HEADER + int(head[2]) * kind.itemsize:
            raise RunError(
                f"{path} is damaged: its header says {int(head[2]):,} tokens, it has {size - HEADER:,} bytes"
            )
    if not size or (size - start) % kind.itemsize:
        raise RunError(f"{path} has {size:,} bytes, no whole number of {kind.name} tokens")
    stream = np.memmap(path, kind, "r", offset=start)
    for begin in range(0, len(stream), 1 << 24):
        largest = int(stream[begin : begin + (1 << 24)].max())
        if largest >= vocab:
            raise RunError(f"{path} holds the token {largest:,}, but the vocabulary is {vocab:,} ({kind.name} ids)")
    return stream
