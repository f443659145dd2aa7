"""Packing: every token is predicted once, in an order that needs no state, and bad token files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dskc.runtime import packing, sources, tokenizer
from dskc.runtime.errors import RunError

CPU = torch.device("cpu")
TEXTS = [f"document {number}: " + "abc" * number for number in range(40)]


@pytest.fixture
def documents(tmp_path: Path) -> sources.Documents:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    return sources.jsonl(f"{tmp_path}/a.jsonl")


def bytes_stream() -> list[int]:
    return [token for text in TEXTS for token in (*text.encode(), 0)]


def test_documents_are_joined_by_the_end_of_text_token(documents: sources.Documents) -> None:
    rows = packing.pack(documents, tokenizer.Bytes(), 16, seed=1, device=CPU)
    stream = bytes_stream()
    assert rows.tokens == len(stream)
    assert len(rows) == (len(stream) - 1) // 16
    batches = list(rows.in_order(7))
    tokens = torch.cat([batch["tokens"] for batch in batches])
    targets = torch.cat([batch["targets"] for batch in batches])
    used = len(rows) * 16
    assert tokens.dtype == torch.int64
    assert tokens.flatten().tolist() == stream[:used]
    assert targets.flatten().tolist() == stream[1 : used + 1]


def test_batches_are_a_function_of_the_samples_consumed(documents: sources.Documents) -> None:
    rows = packing.pack(documents, tokenizer.Bytes(), 16, seed=1, device=CPU)
    count = len(rows)
    epoch = rows.batch(0, count)["tokens"]
    assert sorted(map(tuple, epoch.tolist())) == sorted(
        tuple(row) for batch in rows.in_order(count) for row in batch["tokens"].tolist()
    )
    assert torch.equal(torch.cat([rows.batch(first, 1)["tokens"] for first in range(count)]), epoch)
    assert not torch.equal(rows.batch(count, count)["tokens"], epoch)
    other = packing.pack(documents, tokenizer.Bytes(), 16, seed=2, device=CPU)
    assert not torch.equal(other.batch(0, count)["tokens"], epoch)


def test_a_corpus_is_encoded_once(
    documents: sources.Documents, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = tokenizer.train_bpe(documents, vocab=270)
    first = packing.pack(documents, coder, 16, seed=1, device=CPU)
    monkeypatch.setattr(packing, "_encode", lambda *_: pytest.fail("encoded again"))
    second = packing.pack(documents, coder, 8, seed=1, device=CPU)
    assert second.tokens == first.tokens
    assert [path.suffix for path in own_cache.glob("tokens-*")] == [".uint16"]


def test_a_failed_encoding_leaves_nothing_behind(
    documents: sources.Documents, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = tokenizer.Bytes()
    monkeypatch.setattr(coder, "encode", lambda _: 1 / 0, raising=False)
    with pytest.raises(ZeroDivisionError):
        packing.pack(documents, coder, 16, seed=1, device=CPU)
    assert list(own_cache.iterdir()) == []


def test_too_short_a_corpus_is_refused(documents: sources.Documents) -> None:
    with pytest.raises(RunError, match="fewer than one row of 10,001"):
        packing.pack(documents, tokenizer.Bytes(), 10_000, seed=1, device=CPU)


def load(pattern: str, vocab: int = 50_257, share: float = 0.0) -> tuple[packing.Tokens, packing.Tokens | None]:
    return packing.token_files(pattern, vocab, sequence=10, share=share, seed=1, device=CPU)


@pytest.mark.parametrize(("vocab", "kind"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_raw_token_files(tmp_path: Path, vocab: int, kind: type) -> None:
    streams = [np.arange(0, 95).astype(kind), np.arange(1_000, 1_048).astype(kind)]
    for name, stream in zip("ab", streams, strict=True):
        stream.tofile(tmp_path / f"{name}.bin")
    rows, validation = load(f"{tmp_path}/*.bin", vocab)
    assert validation is None
    assert len(rows) == 9 + 4
    (batch,) = rows.in_order(100)
    assert batch["tokens"][9].tolist() == list(range(1_000, 1_010))
    assert torch.equal(batch["targets"], batch["tokens"] + 1)
    shuffled = rows.batch(0, 13)["tokens"]
    assert sorted(shuffled[:, 0].tolist()) == sorted(batch["tokens"][:, 0].tolist())


def test_the_width_of_raw_tokens_can_be_given(tmp_path: Path) -> None:
    np.arange(101, dtype=np.uint32).tofile(tmp_path / "a.bin")
    rows, _ = packing.token_files(f"{tmp_path}/a.bin", 1_000, 10, share=0.0, seed=None, device=CPU, kind="uint32")
    assert rows.batch(0, 10)["tokens"].flatten().tolist() == list(range(100))


@pytest.mark.parametrize(("magic", "kind"), [(20240520, np.uint16), (20240801, np.uint32)])
def test_token_files_with_a_header(tmp_path: Path, magic: int, kind: type) -> None:
    header = np.zeros(256, np.int32)
    header[:3] = (magic, 1, 101)
    body = np.arange(101).astype(kind)
    (tmp_path / "a.bin").write_bytes(header.tobytes() + body.tobytes())
    (batch,) = load(f"{tmp_path}/a.bin")[0].in_order(100)
    assert batch["tokens"].flatten().tolist() == list(range(100))
    (tmp_path / "a.bin").write_bytes(header.tobytes() + body.tobytes()[:-8])
    with pytest.raises(RunError, match="is damaged: its header says 101 tokens"):
        load(f"{tmp_path}/a.bin")


def test_token_files_are_split_without_overlap(tmp_path: Path) -> None:
    np.arange(1_000, dtype=np.uint16).tofile(tmp_path / "a.bin")
    training, validation = load(f"{tmp_path}/a.bin", share=0.2)
    assert validation is not None
    seen = {token for batch in training.in_order(9) for row in batch["targets"].tolist() for token in row}
    held_out = {token for batch in validation.in_order(9) for row in batch["tokens"].tolist() for token in row}
    assert max(seen) < 800 <= min(held_out)
    with pytest.raises(RunError, match=r"the validation share of tokens\(.*\) has 2 tokens"):
        load(f"{tmp_path}/a.bin", share=0.002)


def test_bad_token_files_are_refused(tmp_path: Path) -> None:
    np.array([1, 50_257], np.uint16).tofile(tmp_path / "big.bin")
    with pytest.raises(RunError, match="holds the token 50,257, but the vocabulary is 50,257"):
        load(f"{tmp_path}/big.bin")
    (tmp_path / "odd.bin").write_bytes(b"abc")
    with pytest.raises(RunError, match="has 3 bytes, no whole number of uint16 tokens"):
        load(f"{tmp_path}/odd.bin")
    (tmp_path / "empty.bin").touch()
    with pytest.raises(RunError, match="has 0 bytes"):
        load(f"{tmp_path}/empty.bin")
    with pytest.raises(RunError, match="no file matches"):
        load(f"{tmp_path}/none*.bin")
