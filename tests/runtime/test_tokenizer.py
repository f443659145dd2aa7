"""Tokenizers: text comes back as it was, special tokens cannot be injected, and a wrong vocabulary is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from dskc.runtime import sources, tokenizer
from dskc.runtime.errors import RunError

TEXT = "def f(x):\n    return x + 1  # ünï 漢字 🦊\n" * 20


@pytest.fixture
def documents(tmp_path: Path) -> sources.Documents:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(TEXT + str(number), "utf-8")
    return sources.text(f"{tmp_path}/*.txt")


def test_bpe_gives_back_any_text(documents: sources.Documents) -> None:
    coder = tokenizer.train_bpe(documents, vocab=280)
    for text in (TEXT, "", " a", "\x00\r\n\t", "unseen: ßø‰"):
        assert coder.decode(coder.encode([text])[0]) == text
    assert coder.vocab == 280
    assert len(coder.encode([TEXT])[0]) < len(TEXT.encode()) * 0.6
    assert max(coder.encode([TEXT])[0]) < 280


def test_bpe_is_kept_in_the_cache(
    documents: sources.Documents, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tokenizer.train_bpe(documents, vocab=280)
    monkeypatch.setattr(tokenizer, "_train", lambda *_: pytest.fail("trained again"))
    assert tokenizer.train_bpe(documents, vocab=280).key == first.key
    assert len(list(own_cache.glob("bpe-*.json"))) == 1


def test_another_vocabulary_or_text_trains_anew(documents: sources.Documents, own_cache: Path, tmp_path: Path) -> None:
    tokenizer.train_bpe(documents, vocab=280)
    tokenizer.train_bpe(documents, vocab=281)
    (tmp_path / "0.txt").write_text("changed")
    tokenizer.train_bpe(sources.text(f"{tmp_path}/*.txt"), vocab=280)
    assert len(list(own_cache.glob("bpe-*.json"))) == 3


def test_text_cannot_contain_the_end_of_a_document(documents: sources.Documents) -> None:
    coder = tokenizer.train_bpe(documents, vocab=280)
    ids = coder.encode([f"x{tokenizer.END}y"])[0]
    assert coder.end not in ids
    assert coder.decode(ids) == f"x{tokenizer.END}y"
    assert coder.decode([*ids, coder.end]) == f"x{tokenizer.END}y"


def test_too_few_texts_for_the_vocabulary_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("aaaa")
    coder = tokenizer.train_bpe(sources.text(f"{tmp_path}/a.txt"), vocab=5_000)
    assert coder.vocab < 300
    assert f"gave {coder.vocab} ids; the other {5_000 - coder.vocab:,} stay unused" in capsys.readouterr().out


def test_a_vocabulary_below_the_bytes_is_refused(documents: sources.Documents) -> None:
    with pytest.raises(RunError, match=r"at least 257 ids .* but vocab is 256"):
        tokenizer.train_bpe(documents, vocab=256)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_bytes_give_back_any_text(text: str) -> None:
    coder = tokenizer.Bytes()
    ids = coder.encode([text])[0]
    assert ids == list(text.encode())
    assert coder.decode([*ids, coder.end]) == text


def test_load(documents: sources.Documents, own_cache: Path, tmp_path: Path) -> None:
    trained = tokenizer.train_bpe(documents, vocab=280)
    (path,) = own_cache.glob("bpe-*.json")
    assert tokenizer.load(path, vocab=280).key == trained.key
    assert tokenizer.load(path, end="a").end == trained.encode(["a"])[0][0]
    with pytest.raises(RunError, match="has 280 ids, but the model's vocabulary is 279"):
        tokenizer.load(path, vocab=279)
    with pytest.raises(RunError, match="has no token <eot> to end a document"):
        tokenizer.load(path, end="<eot>")
    with pytest.raises(RunError, match="cannot be read"):
        tokenizer.load(tmp_path / "missing.json")
    (tmp_path / "bad.json").write_text('{"model": 5}')
    with pytest.raises(RunError, match=r"is no tokenizer\.json"):
        tokenizer.load(tmp_path / "bad.json")


def test_padding_and_truncation_of_a_loaded_tokenizer_are_off(documents: sources.Documents, tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer.from_str(tokenizer.train_bpe(documents, vocab=280).inner.to_str())
    inner.enable_truncation(4)
    inner.enable_padding(length=8)
    inner.save(str(tmp_path / "cut.json"))
    assert len(tokenizer.load(tmp_path / "cut.json").encode(["x" * 50])[0]) > 8
