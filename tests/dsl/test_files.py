"""Specs and tokenizers that are no ordinary files: said at once, never waited for."""

import os
from pathlib import Path

import pytest

from dskc.dsl import load
from dskc.dsl.diagnostics import Sink
from dskc.dsl.read import read
from dskc.dsl.source import Source
from tests.dsl.specs import IMAGES, TEXT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    return tmp_path


ODD = ("pipe", "loop", "folder", "/dev/zero", "missing", "x" * 5_000)


@pytest.mark.parametrize("name", ODD)
def test_spec(name: str, folder: Path) -> None:
    with pytest.raises(OSError, match=r"\w"):
        read(folder / name, Sink())


@pytest.mark.parametrize("name", ODD)
def test_import(name: str, folder: Path) -> None:
    text = IMAGES.replace("dsk 1\n", f'dsk 1\nimport "{name}"\n')

    found = load(Source(str(folder / "a.dsk"), text))[1]

    assert [d.code for d in found] == ["E0601"]


@pytest.mark.parametrize("name", ODD)
def test_tokenizer(name: str, folder: Path) -> None:
    text = f'{TEXT}data {{ source: text("a"), tokenizer: file("{folder / name}"), sequence: 8 }}\n'

    found = load(Source(str(folder / "a.dsk"), text))[1]

    assert "E0303" in [d.code for d in found]
