"""Saves while training goes on: those of their step, one at a time, and told where they fail."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dskc.runtime import sound, tensorfile
from dskc.runtime.checkpoint import Checkpoints, Position
from dskc.runtime.errors import RunError

from .test_checkpoint import build, run, saved


def content(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.iterdir()}


class Slow:
    """A disk that takes nothing until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may, self.original, self.error = threading.Event(), tensorfile.write_all, None
        monkeypatch.setattr(tensorfile, "write_all", self)

    def __call__(self, handle: int, data: memoryview) -> None:
        assert self.may.wait(30)
        if self.error is not None:
            raise self.error
        self.original(handle, data)


def test_a_save_in_the_background_is_of_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files to the byte as those of a save that training waits for, though training goes on."""
    saved(tmp_path / "sync", 2, 4)
    model, adamw = build()
    disk = Slow(monkeypatch)
    with Checkpoints(tmp_path / "async", plan="p", background=True) as checkpoints:
        for first in (0, 2):
            run(model, adamw, range(first, first + 2))
            disk.may.set()
            checkpoints.finish()
            disk.may.clear()
            assert checkpoints.save(model, adamw, Position(first + 2, 16 * (first + 2)))
            assert not checkpoints.path(first + 2).exists()
        run(model, adamw, range(4, 6))
        disk.may.set()
    assert checkpoints.steps() == [2, 4]
    for step in (2, 4):
        expected = content(tmp_path / "sync" / checkpoints.path(step).name)
        assert content(checkpoints.path(step)) == expected
        assert len(expected) == 4


def test_a_background_save_that_fails_is_told_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, 1)
    model, adamw = build()
    checkpoints = Checkpoints(tmp_path, plan="p", background=True)
    checkpoints.restore(model, adamw)
    disk = Slow(monkeypatch)
    disk.may.set()
    disk.error = OSError(28, os.strerror(28))
    assert checkpoints.save(model, adamw, Position(2, 32))
    assert not checkpoints.finish()
    assert "checkpoint of step 2 was not written: No space left on device" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    with pytest.raises(RunError, match=r"No space left.*Make room"):
        checkpoints.save(model, adamw, Position(2, 32), final=True)
    disk.error = None
    assert checkpoints.save(model, adamw, Position(2, 32))
    assert checkpoints.finish()
    assert checkpoints.restore(*build()).step == 2


def test_an_error_in_training_waits_for_the_save_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, adamw = build()
    disk = Slow(monkeypatch)
    checkpoints = Checkpoints(tmp_path, plan="p", background=True)

    def train() -> None:
        with checkpoints:
            checkpoints.save(model, adamw, Position(1, 16))
            threading.Timer(0.2, disk.may.set).start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert sound.damage(checkpoints.path(1)) is None


def test_one_save_is_in_flight_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, adamw = build()
    disk = Slow(monkeypatch)
    with Checkpoints(tmp_path, plan="p", background=True) as checkpoints:
        checkpoints.save(model, adamw, Position(1, 16))
        threading.Timer(0.2, disk.may.set).start()
        checkpoints.save(model, adamw, Position(2, 32))
        assert sound.damage(checkpoints.path(1)) is None
        assert checkpoints.cost.writing >= 0.15
        assert checkpoints.cost.stall < checkpoints.cost.writing


class Counter:
    """A part of a run with a state of its own."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def state(self) -> dict[str, object]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, object]) -> None:
        self.seen = list(state["seen"])  # type: ignore[call-overload]


def test_the_state_of_other_parts_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it was when the save began, though the file is written later."""
    (model, adamw), kept, disk = build(), Counter(), Slow(monkeypatch)
    with Checkpoints(tmp_path, plan="p", background=True, extra={"counter": kept}) as checkpoints:
        kept.seen += [1.5, 2.0]
        checkpoints.save(model, adamw, Position(1, 16))
        kept.seen.append(9.0)
        disk.may.set()

    found = Counter()
    Checkpoints(tmp_path, plan="p", extra={"counter": found}).restore(*build())
    assert found.seen == [1.5, 2.0]
    assert "note" not in capsys.readouterr().out

    other = Counter()
    Checkpoints(tmp_path, plan="p", extra={"guard": other}).restore(*build())
    assert other.seen == []
    assert "written by a run with another set of parts: counter, guard" in capsys.readouterr().out
