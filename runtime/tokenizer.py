"""From text to token ids and back: bytes, a byte-level BPE trained on the corpus, or a `tokenizer.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from . import cache, console
from .errors import RunError
from .sources import Documents

if TYPE_CHECKING:
    import tokenizers

END = "<|endoftext|>"
# What widely used tokenizers call the token that ends a document.
KNOWN_ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")
SMALLEST_BPE = 257  # every byte and the end of a document


class Tokenizer(Protocol):
    """Ids below `vocab`; `end` closes a document; `key` names the tokenizer in the cache."""

    vocab: int
    end: int
    key: str

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without the ends of documents."""


class Bytes:
    """One id for each byte of UTF-8; the zero byte, which text does not use, ends a document."""

    vocab = 256
    end = 0
    key = "bytes"

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; bytes that are no UTF-8 show as the replacement sign."""
        return bytes(number for number in ids if number != self.end).decode("utf-8", "replace")


class Subwords:
    """A tokenizer of the `tokenizers` library. Text that looks like a special token is encoded as plain text."""

    def __init__(self, inner: tokenizers.Tokenizer, end: int) -> None:
        inner.encode_special_tokens = True
        inner.no_padding()
        inner.no_truncation()
        self.inner = inner
        self.end = end
        self.vocab = inner.get_vocab_size(with_added_tokens=True)
        self.key = hashlib.sha256(inner.to_str().encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, computed on all cores."""
        encoded = self.inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without special tokens."""
        return self.inner.decode(list(ids), skip_special_tokens=True)


def train_bpe(documents: Documents, vocab: int) -> Subwords:
    """A byte-level BPE of `vocab` ids, trained on the documents once and kept in the cache folder."""
    if vocab < SMALLEST_BPE:
        raise RunError(
            f"a byte-level BPE needs at least {SMALLEST_BPE} ids (all bytes and {END}), but vocab is {vocab}"
        )
    path = cache.folder() / f"bpe-{hashlib.sha256(f'{vocab} {documents.key}'.encode()).hexdigest()[:32]}.json"
    if not path.is_file():
        console.LINE.note(f"training a tokenizer of {vocab:,} ids on {len(documents):,} documents")
        trained = _train(documents, vocab)
        with cache.creating(path) as temporary:
            temporary.write_text(trained.to_str(), "utf-8")
    found = load(path, vocab)
    if found.vocab < vocab:
        console.LINE.note(f"the documents gave {found.vocab:,} ids; the other {vocab - found.vocab:,} stay unused")
    return found


def _train(documents: Documents, vocab: int) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(iter(documents), trainer=trainer, length=len(documents))
    return inner


def load(path: str | Path, vocab: int | None = None, end: str | None = None) -> Subwords:
    """The tokenizer of a `tokenizer.json`, whose ids must fit into `vocab`; `end` names the token after a document."""
    from tokenizers import Tokenizer

    try:
        content = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"the tokenizer {path} cannot be read: {error}") from error
    try:
        inner = Tokenizer.from_str(content)
    except Exception as error:  # the library raises plain Exception
        raise RunError(f"{path} is no tokenizer.json: {error}") from error
    found = Subwords(inner, _end_of(inner, path, end))
    check_fits(found, vocab, str(path))
    return found


def _end_of(inner: tokenizers.Tokenizer, path: str | Path, end: str | None) -> int:
    for name in (end,) if end else KNOWN_ENDS:
        number = inner.token_to_id(name)
        if number is not None:
            return number
    raise RunError(f"{path} has no token {end or ' or '.join(KNOWN_ENDS)} to end a document with; name it with `end`")


def check_fits(tokenizer: Tokenizer, vocab: int | None, name: str) -> None:
    """`RunError` when the tokenizer has ids that a model with `vocab` of them cannot take."""
    if vocab is not None and tokenizer.vocab > vocab:
        raise RunError(f"the tokenizer {name} has {tokenizer.vocab:,} ids, but the model's vocabulary is {vocab:,}")
